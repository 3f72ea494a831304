"""Collections of documents that any machine has."""

from sage_nb.corpora.pydocs import PyDocs, pydocs

__all__ = ["PyDocs", "pydocs"]
