"""A Jupyter-first RAG toolkit."""
