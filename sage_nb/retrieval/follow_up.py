"""A question that follows others, made one that can be understood alone: by a generator, or by a rule without one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sage_nb.index.analysis import STOP_WORDS
from sage_nb.models.generator import Writer
from sage_nb.records.markup import shortened
from sage_nb.retrieval.prompt import Prompt

FEW = 2  # content words: a question with no more of them is taken to lean on the one before
MOST = 12  # words that are taken over from it
LONGEST = 500  # characters of a condensed question, and of what of an answer goes into the history

REFERRING = frozenset(
    {"he", "her", "him", "his", "it", "its", "she", "that", "their", "them", "these", "they", "this", "those", "there"}
    | {"another", "both", "former", "latter", "one", "ones", "other", "others", "same", "such"}
)
_ASKING = frozenset(
    {"what", "who", "whom", "whose", "which", "when", "where", "why", "how", "does", "do", "did", "is", "are", "was"}
    | {"were", "can", "could", "would", "should", "has", "have", "had", "about", "tell", "me", "you", "i", "we", "my"}
    | {
        "please",
        "also",
        "more",
        "from",
        "than",
        "so",
        "many",
        "much",
        "he",
        "s",
        "us",
        "your",
        "explain",
        "give",
        "too",
    }
)
_WORD = re.compile(r"\w+")


def leaning(question: str, before: str) -> str:
    """`question`, with the content words of the question before it where it leans on that one; the rule without an LLM.

    It leans on it where it has a word that refers (it, they, that, …) or no more than two content words: words that are
    no stop words, ask for nothing and refer to nothing. English only; what refers to an answer is not found.

    >>> leaning("who wrote it?", "When was the Python language designed?")
    'who wrote it? Python language designed'
    >>> leaning("How do I restart a job from a savepoint?", "When was the Python language designed?")
    'How do I restart a job from a savepoint?'
    """
    own = _content(question)
    refers = any(word.lower() in REFERRING for word in _WORD.findall(question))
    if not refers and len(own) > FEW:
        return question
    known = {word.lower() for word in own}
    taken = [word for word in _content(before) if word.lower() not in known][:MOST]
    return " ".join([question, *taken])


def condensed(writer: Writer, prompt: Prompt, history: Sequence[tuple[str, str]], question: str) -> str:
    """`question` as a generator rewrites it, who is shown the (question, answer) pairs before it.

    Raises GeneratorError where it gives nothing. Of what it writes the first line counts, without quotation marks.
    """
    said = "\n".join(
        f"User: {shortened(asked, LONGEST)}\nAssistant: {shortened(text, LONGEST)}" for asked, text in history
    )
    (text,) = writer.write([prompt.filled(history=said, question=question)])
    first = next(line for line in text.splitlines() if line.strip())
    return shortened(first.strip().strip("\"'“”"), LONGEST)


def _content(text: str) -> list[str]:
    """Its content words, each once, as they are written."""
    words = {word.lower(): word for word in reversed(_WORD.findall(text))}
    return [word for low, word in reversed(words.items()) if low not in STOP_WORDS | _ASKING | REFERRING]
