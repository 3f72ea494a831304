"""A notebook that is run in a kernel which counts the texts, and pairs of them, that our models are given."""

from __future__ import annotations

from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

COUNT = """
from sage_nb.models.cross_encoder import PairScorer
from sage_nb.models.encoder import SentenceEncoder

_texts = [0]

def _counted(method):
    def count(self, texts):
        _texts[0] += len(texts)
        return method(self, texts)

    return count

for _kind, _name in ((SentenceEncoder, "encode"), (SentenceEncoder, "tokens"), (PairScorer, "score")):
    setattr(_kind, _name, _counted(getattr(_kind, _name)))
"""


def texts_of(notebook, folder):
    """Run a notebook in a folder; gives how many texts, and pairs, models were given by it."""
    cells = notebook.cells
    notebook.cells = [new_code_cell(COUNT), *cells, new_code_cell("print(_texts[0])")]
    NotebookClient(notebook, timeout=280, resources={"metadata": {"path": str(folder)}}).execute()
    (told,) = notebook.cells[-1].outputs
    notebook.cells = cells
    return int(told.text)
