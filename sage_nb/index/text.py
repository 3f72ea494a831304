"""What of a document is searched."""

from __future__ import annotations

from sage_nb.records.values import Document


def indexed_text(document: Document) -> str:
    r"""Title and text, as terms and vectors are made of them; the title once, where the text begins with it.

    >>> indexed_text(Document("d", "It stops.", title="Barriers"))
    'Barriers\nIt stops.'
    """
    if not document.title or document.text.startswith(document.title):
        return document.text
    return f"{document.title}\n{document.text}"
