"""Collections of documents that any machine has.

>>> document = next(iter(pydocs(["heapq"])))
>>> document.id, document.source
('heapq', 'heapq')
"""

from sage_nb.corpora.pydocs import PyDocs, pydocs

__all__ = ["PyDocs", "pydocs"]
