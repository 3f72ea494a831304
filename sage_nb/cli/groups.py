"""`sage-nb groups`: the file that the bundled reranker is trained on, made anew from what this machine has."""

from __future__ import annotations

import dataclasses
import json
import random
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sage_nb.corpora.manuals import manuals
from sage_nb.corpora.packages import debian_packages
from sage_nb.corpora.pydocs import pydocs
from sage_nb.errors import BadValueError
from sage_nb.evaluation.groups import Labelled, groups
from sage_nb.records.beir import Corpus, read_beir
from sage_nb.records.rows import numbered, parsed
from sage_nb.records.values import Document
from sage_nb.retrieval.collection import Collection

OWN = Path("data/reranker/questions.jsonl")
HELD_OUT = ("stdlib", "numpy")  # what data/pydocs asks about
DOCSTRINGS = (
    "IPython", "anyio", "bs4", "faiss", "fsspec", "huggingface_hub", "hypothesis", "ipywidgets", "jinja2",
    "joblib", "jupyter_client", "jupyter_server", "lxml", "mpmath", "nbconvert", "nbformat", "networkx", "pandas",
    "prompt_toolkit", "pyarrow", "pydantic", "pypdf", "pytest", "ray", "requests", "scipy",
    "sentence_transformers", "sklearn", "sympy", "tokenizers", "torch", "tornado", "traitlets", "transformers",
    "zmq",
)  # fmt: skip
WORDS = 150  # of a passage: what a pair of 192 tokens holds
SHORTEST = 25  # words that are worth a question
SURE, LIKELY = 4.0, 2.0  # trust in a question that a person asked, and in a heading


class Lesson(NamedTuple):
    """Documents, and questions about some of them."""

    name: str
    documents: Sequence[Document]
    labelled: Sequence[Labelled]


def make_groups(out: str, folders: Sequence[str], installed: Sequence[str], *, most: int = 3000, seed: int = 0) -> None:
    """Write one file of groups: from what is `installed` here (names in INSTALLED), and from folders of pairs.

    A folder holds pairs.jsonl ({"query": …, "text": …}, or with the "id" of one of docs.jsonl), or is a BEIR one, of
    which only the first half of the documents and the questions about them are used. Of each source `most` questions.
    """
    chance = random.Random(seed)
    makers = [partial(INSTALLED[name], chance, most) for name in installed]
    makers += [partial(_folder, Path(folder), chance, most) for folder in folders]
    with Path(out).open("w", encoding="utf8") as file:
        for make in makers:
            lesson = make()
            count = 0
            for line in _lines(lesson, seed):
                file.write(line)
                count += 1
            print(f"{lesson.name}: {count:,} groups over {len(lesson.documents):,} passages", flush=True)


def _lines(lesson: Lesson, seed: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as scratch:
        book = Collection(Path(scratch) / lesson.name)
        book.add(lesson.documents, progress=False)
        for group in groups(book, lesson.labelled, seed):
            if len(group.passages) > 1:
                yield json.dumps(dataclasses.asdict(group), ensure_ascii=False) + "\n"


def _packages(chance: random.Random, most: int) -> Lesson:
    """Short description → long description."""
    found = [each for each in debian_packages() if _is_long(each.text)]
    chosen = _distinct(chance.sample(found, min(2 * most, len(found))))
    labelled = [Labelled(each.title, each.id, LIKELY) for each in chosen[:most]]
    return Lesson("packages", [_passage(each.id, each.text) for each in chosen], labelled)


def _docstrings(chance: random.Random, most: int) -> Lesson:
    """First sentence → the rest, with the signature."""
    documents, labelled = [], []
    for each in _read(DOCSTRINGS):
        paragraphs = each.text.split("\n\n")
        at = 1 if "(" in paragraphs[0] and len(paragraphs) > 2 else 0
        first, _, rest = " ".join(paragraphs[at].split()).partition(". ")
        body = " ".join([*paragraphs[:at], rest, *paragraphs[at + 1 :]])
        if 4 <= len(first.split()) <= SHORTEST and _is_long(body):
            documents.append(_passage(each.id, body))
            labelled.append(Labelled(first, each.id, LIKELY))
    kept = _distinct(chance.sample(documents, min(2 * most, len(documents))))
    ids = {each.id for each in kept[:most]}
    return Lesson("docstrings", kept, [each for each in labelled if each.document in ids])


def _own(_: random.Random, most: int) -> Lesson:
    """Our questions about packages, docstrings and manual pages."""
    if not OWN.is_file():
        raise BadValueError(f"sage-nb groups reads {OWN}, which is not here; run it in a checkout")
    asked = [(str(row["text"]), str(row["document"])) for row in (parsed(line) for _, line in numbered(OWN))]
    wanted = {name for _, name in asked}
    pages = sorted(name.removeprefix("man:") for name in wanted if name.startswith("man:"))
    held: Mapping[str, str] = {
        **{f"debian:{each.id}": f"{each.title}. {each.text}" for each in debian_packages()},
        **{f"py:{each.id}": each.text for each in _read(DOCSTRINGS)},
        **{f"man:{each.id}": each.text for each in manuals(pages)},
    }
    beside = [
        name for name in sorted(held)[:: max(1, len(held) // 3000)] if name not in wanted and _is_long(held[name])
    ]
    documents = [_passage(name, held[name]) for name in [*sorted(wanted & held.keys()), *beside]]
    return Lesson("own", documents, [Labelled(text, name, SURE) for text, name in asked if name in held][:most])


INSTALLED: Mapping[str, Callable[[random.Random, int], Lesson]] = {
    "packages": _packages,
    "docstrings": _docstrings,
    "own": _own,
}


def _folder(folder: Path, chance: random.Random, most: int) -> Lesson:
    pairs = next(iter(folder.glob("pairs.jsonl*")), None)
    if pairs is None:
        return _first_half(folder)
    rows = [parsed(line) for _, line in numbered(pairs)]
    if rows and "text" in rows[0]:
        documents = [_passage(str(at), str(row["text"])) for at, row in enumerate(rows)]
        labelled = [Labelled(str(row["query"]), str(at), SURE) for at, row in enumerate(rows)]
        return Lesson(folder.name, documents, labelled[:most])
    every = list(Corpus(next(folder.glob("docs.jsonl*"))))
    kept = {each.id: each for each in chance.sample(every, min(2 * most, len(every)))}
    asked = [Labelled(str(row["query"]), str(row["id"]), SURE) for row in rows if str(row["id"]) in kept]
    documents = [_passage(each.id, f"{each.title} {each.text}") for each in kept.values()]
    return Lesson(folder.name, documents, chance.sample(asked, min(most, len(asked))))


def _first_half(folder: Path) -> Lesson:
    standard = read_beir(folder)
    every = list(standard.documents)
    early = {each.id: _passage(each.id, f"{each.title} {each.text}") for each in every[: len(every) // 2]}
    labelled = [
        Labelled(query.text, name, SURE)
        for query in standard.queries
        for name, grade in standard.qrels[query.id].items()
        if grade > 0 and name in early
    ]
    return Lesson(folder.name, list(early.values()), labelled)


def _read(packages: Iterable[str]) -> Iterator[Document]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of modules that want what is not installed
        yield from (each for each in pydocs(packages) if each.source not in HELD_OUT)


def _passage(name: str, text: str) -> Document:
    return Document(name, " ".join(text.split()[:WORDS]))


def _is_long(text: str) -> bool:
    return len(text.split()) >= SHORTEST


def _distinct(documents: Iterable[Document]) -> list[Document]:
    """Without those that begin as another does: the same text under several names is no negative of itself."""
    return list({each.text[:70]: each for each in documents}.values())
