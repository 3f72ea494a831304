"""Several questions in one's place: each goes through the same pipeline, and what they find is fused."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from sage_nb.errors import BadValueError
from sage_nb.models.generator import Generator, as_generator
from sage_nb.records.markup import shortened
from sage_nb.records.values import Query, Result
from sage_nb.retrieval.changes import leaves
from sage_nb.retrieval.expand import Rewording
from sage_nb.retrieval.given import check_k, unnamed
from sage_nb.retrieval.path import Path
from sage_nb.retrieval.ranking import CACHED, COMPUTED, fused, placed, query_id, unfused
from sage_nb.retrieval.recall import Known, Passing, result_of
from sage_nb.retrieval.stage import Chain, Stage, as_stage
from sage_nb.retrieval.yaml import stage
from sage_nb.stream.api import Stream
from sage_nb.stream.build import How
from sage_nb.stream.function import Context, MapFunction

QUOTED = 60  # characters of a question that a hit's step tells


@dataclass(frozen=True)
class Asking(Stage):
    """A stage that asks a pipeline questions of its own; what comes of each is kept by that pipeline."""

    pipe: Stage

    @property
    def branches(self) -> tuple[Stage, ...]:
        """The pipeline."""
        return (self.pipe,)

    @property
    def keeps(self) -> bool:
        """No: the pipeline does."""
        return False

    @property
    def by_id(self) -> bool:
        """Whether the pipeline's are."""
        return any(step.by_id for step in leaves(self.pipe))

    def inward(self, path: Path) -> Path:
        """Questions of their own begin anew, so that one which was asked before is known."""
        return path.into_questions()


@dataclass(frozen=True)
class Variants(Asking):
    """Asks a pipeline the question and each text it was expanded by, and fuses what they find (rrf)."""

    @property
    def label(self) -> str:
        """The rule."""
        return "rrf"

    def lay(self, stream: Stream, path: Path, how: How) -> tuple[Stream, Path]:
        """Questions dealt out, answered and gathered: those of a whole batch together."""
        on = path.then(self)
        texts = partial(texts_of, depth=on.depth)
        gathered = asked_each(stream, texts, (self.pipe, self.inward(path)), how)
        options: Any = {"name": self.label, "on_error": partial(unfused, self.label), **unnamed(how)}
        return gathered.map(Joining(self.label, texts), **options), on


Texts = Callable[[Any], Sequence[str]]


def asked_each(stream: Stream, texts: Texts, pipe: tuple[Stage, Path], how: How) -> Stream:
    """Tuples of each record and the results of the questions that `texts` reads off it, in no order.

    The n-th of them has the record's own id, a # and n; see `number_of`.
    """
    inner: Any = unnamed(how)
    where: Any = {name: inner[name] for name in ("parallelism", "resources", "together") if name in inner}
    stage, path = pipe
    name = "questions-of-each"
    dealt = path.once(stream, name, lambda: stream.flat_map(partial(_dealt, texts), name=name, **where))
    answered, _ = stage.laid(dealt, path, inner)
    return stream.gather(answered, on=(query_id, _parent), count=partial(_count, texts), **where)


def number_of(result: Passing) -> int:
    """Which of its record's questions it is a result of, from 0."""
    return int(query_id(result).rpartition("#")[2])


def texts_of(value: Passing, depth: int) -> tuple[str, ...]:
    """The question and what it was expanded by; nothing where the result at `depth` is known, or there is none."""
    if passes(value, depth):
        return ()
    result = result_of(value)
    return result.query.text, *(result.expansion.passages if result.expansion else ())


def passes(value: Passing, depth: int) -> bool:
    """Whether nothing is to be asked: the result at `depth` is known, or the question has failed."""
    return value.depth >= depth if isinstance(value, Known) else bool(value.error)


def _parent(result: Passing) -> str:
    return query_id(result).rpartition("#")[0]


def _dealt(texts: Texts, value: Passing) -> list[Result]:
    return [Result(Query(f"{query_id(value)}#{number}", text)) for number, text in enumerate(texts(value))]


def _count(texts: Texts, value: Passing) -> int:
    return len(texts(value))


class Joining(MapFunction[tuple[Passing, ...], Passing]):
    """The running half of `Variants`: what was found for a question and its variants, as one ranking."""

    def __init__(self, rule: str, texts: Texts) -> None:
        self.rule, self.texts = rule, texts

    def open(self, context: Context, /) -> None:
        """It counts."""
        self._metrics = context.metrics

    def map(self, value: tuple[Passing, ...], /) -> Passing:
        """One ranking of those that there are; the others are missing, and if there is none, it has failed."""
        asked, *found = value
        if not (texts := self.texts(asked)):
            self._metrics.count(CACHED, isinstance(asked, Known))
            return asked
        self._metrics.count(COMPUTED)
        results = {number_of(each): result_of(each) for each in found}
        return joined(result_of(asked), [(text, results.get(at)) for at, text in enumerate(texts)], self.rule)


def joined(asked: Result, found: Sequence[tuple[str, Result | None]], rule: str) -> Result:
    """The rankings of several questions as one of the question asked; each hit says which of them found it."""
    failures = {quoted(text): "no ranking" if each is None else each.error for text, each in found}
    lost = [f"{name}: {why}" for name, why in failures.items() if why]
    sound = [named(each, quoted(text)) for text, each in found if each is not None and not each.error]
    if not sound:
        return msgspec.structs.replace(asked, error="; ".join(lost), expansion=None)
    whole = fused(sound, rule, [1.0] * len(sound), [None] * len(sound))
    also = [f"asked also: {', '.join(quoted(text) for text, _ in found[1:])}"] if found[1:] else []
    return msgspec.structs.replace(
        whole,
        query=asked.query,
        notes=(*asked.notes, *also, *whole.notes),
        missing=(*asked.missing, *lost, *whole.missing),
    )


def named(result: Result, name: str) -> Result:
    """A result each of whose hits says that this is where it was found, at which rank."""
    return placed(result, name, [(hit, hit.score) for hit in result.hits])


def quoted(text: str) -> str:
    """A question as a hit's step tells it.

    >>> quoted("what is light?")
    '“what is light?”'
    """
    return f"“{shortened(text, QUOTED)}”"


@dataclass(frozen=True, repr=False)
class Reworded(Chain):
    """A pipeline that is asked a question and what a generator makes of it."""

    pipe: Stage
    generator: Generator
    n: int = 3
    prompt: str = ""

    def __post_init__(self) -> None:
        check_k(self.n, f"{self.word}()", "n")
        if self.pipe.needs != "query" or self.pipe.gives != "ranking":
            raise BadValueError(
                f"{self.word}() asks a pipeline that begins and ends with a retriever, got {self.pipe!r}"
            )

    def __repr__(self) -> str:
        own = "" if self.prompt == type(self).prompt else f", prompt={self.prompt!r}"
        return f"{self.word}({self.pipe!r}, {self.generator!r}, n={self.n}{own})"

    @property
    @abstractmethod
    def word(self) -> str:
        """What makes it."""

    @property
    def steps(self) -> tuple[Stage, ...]:
        """The generator's part, then the pipeline's."""
        return Rewording(self.generator, self.n, self.prompt), Variants(self.pipe)


@stage("multi_query")
@dataclass(frozen=True, repr=False)
class MultiQuery(Reworded):
    """A pipeline that is asked a question in several wordings."""

    prompt: str = "rephrase"

    @property
    def word(self) -> str:
        """`multi_query`."""
        return "multi_query"


@stage("decompose")
@dataclass(frozen=True, repr=False)
class Decompose(Reworded):
    """A pipeline that is asked a question and the simpler ones it is made of."""

    prompt: str = "decompose"

    @property
    def word(self) -> str:
        """`decompose`."""
        return "decompose"


def multi_query(pipe: Stage, generator: Generator | str, n: int = 3, *, prompt: str = "rephrase") -> Stage:
    r"""Ask a pipeline the question and `n` other wordings of it, and fuse the rankings.

    The wordings are a generator's, as in RAG-Fusion (Rackauckas, 2024, arXiv:2402.03367); score(d) = Σ 1 / (60 +
    rank(d)) over all rankings that hold d (Cormack, Clarke & Büttcher, SIGIR 2009). Each hit has a step for every
    wording that found it, with its rank there. Where the generator fails, or writes nothing, the question alone is
    searched, and the result says so in `missing`.

    >>> import sage_nb as sage
    >>> from tempfile import TemporaryDirectory
    >>> @sage.generator("thesaurus")
    ... def thesaurus(conversation):
    ...     return "1. cars\n2. automobiles"
    >>> with TemporaryDirectory() as folder:
    ...     garage = sage.Collection(folder + "/garage", encoder=None)
    ...     texts = {"a": "Cars have wheels.", "b": "Automobiles are loud.", "c": "Ships float."}
    ...     _ = garage.add([sage.Document(name, text) for name, text in texts.items()], progress=False)
    ...     found = multi_query(garage.lexical(3), "thesaurus", n=2).search("vehicles")
    >>> for hit in found.hits:
    ...     print(hit.document.id, [(step.stage, step.rank) for step in hit.steps])
    a [('bm25', 1), ('“cars”', 1), ('rrf', 1)]
    b [('bm25', 1), ('“automobiles”', 1), ('rrf', 2)]
    """
    return MultiQuery(as_stage(pipe, "multi_query()"), as_generator(generator), n, prompt)


def decompose(pipe: Stage, generator: Generator | str, n: int = 4, *, prompt: str = "decompose") -> Stage:
    r"""Ask a pipeline the question and up to `n` simpler ones that it is made of, and fuse the rankings (rrf).

    The sub-questions are a generator's, all made at once, as in least-to-most prompting (Zhou et al., ICLR 2023); where
    one needs the answer of another, take `iterative`. Each hit has a step for every sub-question that found it. Where
    the generator fails, or writes nothing, the question alone is searched, and the result says so in `missing`.

    >>> import sage_nb as sage
    >>> @sage.generator("splitter")
    ... def splitter(conversation):
    ...     return "Where are ants?\nWhere are bees?"
    >>> decompose(sage.Collection("garden").lexical(5), "splitter", n=2)
    decompose(Collection('garden').lexical(k=5), 'splitter', n=2)
    """
    return Decompose(as_stage(pipe, "decompose()"), as_generator(generator), n, prompt)
