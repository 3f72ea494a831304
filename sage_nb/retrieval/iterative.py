"""Retrieval in rounds: each asks what the ones before it have brought to light (multi-hop questions)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from sage_nb.errors import BadValueError, GeneratorError
from sage_nb.models.generator import Generator, as_generator
from sage_nb.records.plain import plain
from sage_nb.records.values import Query, Result
from sage_nb.retrieval.changes import leaves
from sage_nb.retrieval.following import Asker, ByGenerator, ByRule, Next, Rule, Turn, names
from sage_nb.retrieval.given import check_k, unnamed
from sage_nb.retrieval.identity import digest_of
from sage_nb.retrieval.path import Path
from sage_nb.retrieval.prompt import prompt as prompt_called
from sage_nb.retrieval.ranking import CACHED, COMPUTED, fused, unfused
from sage_nb.retrieval.recall import Passing, result_of
from sage_nb.retrieval.stage import Stage, as_stage
from sage_nb.retrieval.variants import Asking, asked_each, named, passes, quoted
from sage_nb.retrieval.yaml import stage
from sage_nb.stream.api import Stream
from sage_nb.stream.build import How
from sage_nb.stream.check import callable_with, name_of
from sage_nb.stream.function import Context, MapFunction

Until = Callable[[Result], bool]

RULE = "rrf"  # how the rounds' rankings become one


@stage("iterative")
@dataclass(frozen=True, repr=False)
class Iterative(Asking):
    """Asks a pipeline in rounds, each what the last one has brought to light; what a generator writes is kept, too."""

    until: Until | None = None
    max_rounds: int = 3
    ask: Generator | Rule | None = None
    prompt: str = "next_question"

    def __post_init__(self) -> None:
        check_k(self.max_rounds, "iterative()", "max_rounds")
        if self.pipe.needs != "query" or self.pipe.gives != "ranking":
            raise BadValueError(f"iterative() asks a pipeline that begins and ends with a retriever, got {self.pipe!r}")
        if any(isinstance(step, Iterative) for step in leaves(self.pipe)):
            raise BadValueError(
                f"iterative() stands within another one, in {self.pipe!r}; give the outer one the rounds of both"
            )
        for name in ("until", "ask"):
            if getattr(self, name) is not None and not isinstance(getattr(self, name), Generator):
                callable_with(getattr(self, name), 1, f"iterative({name}=…)")
        prompt_called(self.prompt).checked("question", "passages")

    def __repr__(self) -> str:
        given = {
            "until": name_of(self.until),
            "max_rounds": repr(self.max_rounds),
            "ask": repr(self.ask) if isinstance(self.ask, Generator) else name_of(self.ask),
            "prompt": repr(self.prompt),
        }
        default = type(self).__dataclass_fields__
        changed = [f", {each}={text}" for each, text in given.items() if getattr(self, each) != default[each].default]
        return f"iterative({self.pipe!r}{''.join(changed)})"

    @property
    def label(self) -> str:
        """Its name."""
        return "iterative"

    def beside(self) -> Mapping[str, Any]:
        """The words of its prompt, where a generator is told them."""
        return {"words": prompt_called(self.prompt).text} if isinstance(self.ask, Generator) else {}

    def lay(self, stream: Stream, path: Path, how: How) -> tuple[Stream, Path]:
        """A loop around the pipeline; a question leaves it when its rounds are over."""
        on = path.then(self)
        inner: Any = unnamed(how)
        where: Any = {name: inner[name] for name in ("parallelism", "resources", "together") if name in inner}
        turning = Turning(self.asker, self.until, self.max_rounds, on.depth)
        options: Any = {"name": self.label, "on_error": partial(unfused, self.label), **inner}

        def body(going: Stream) -> Stream:
            asked = asked_each(going, partial(texts_of, depth=on.depth), (self.pipe, self.inward(path)), how)
            return asked.map(turning, **options)

        return stream.iterate(body, until=_over, name="rounds", **where), on

    @property
    def asker(self) -> Asker:
        """What decides on the next question."""
        if isinstance(self.ask, Generator):
            return ByGenerator(self.ask, prompt_called(self.prompt), digest_of(self.ask))
        return ByRule(self.ask or names)


@plain
class Hop(msgspec.Struct, frozen=True):
    """A question between two rounds: as it came, all that has been asked for it, and what each round found."""

    came: Result
    asked: tuple[str, ...]
    rounds: tuple[Result, ...] = ()

    @property
    def query(self) -> Query:
        """The question."""
        return self.came.query

    @property
    def notes(self) -> tuple[str, ...]:
        """What was noted before."""
        return self.came.notes

    @property
    def new(self) -> Result:
        """What the last round found first."""
        before = {(hit.collection, hit.document.id) for each in self.rounds[:-1] for hit in each.hits}
        hits = [hit for hit in self.rounds[-1].hits if (hit.collection, hit.document.id) not in before]
        return Result(self.query, tuple(hits))

    @property
    def found(self) -> Result:
        """The rounds' rankings as one."""
        whole = fused(self.rounds, RULE, [1.0] * len(self.rounds), [None] * len(self.rounds))
        asked = (f"round {number} asked: {quoted(text)}" for number, text in enumerate(self.asked[1:], 2))
        return msgspec.structs.replace(
            whole,
            query=self.query,
            notes=(*self.notes, *asked, *whole.notes),
            missing=(*self.came.missing, *whole.missing),
        )


class Turning(MapFunction[tuple[Any, ...], Any]):
    """The running half of `Iterative`: after each round, the next question, or the result."""

    def __init__(self, asker: Asker, until: Until | None, most: int, depth: int) -> None:
        self._asker, self._until, self._most, self._depth = asker, until, most, depth

    def open(self, context: Context, /) -> None:
        """Open what asks."""
        self._metrics = context.metrics
        self._asker.open(context)

    def map_batch(self, batch: Sequence[tuple[Any, ...]], /) -> list[Hop | Passing]:
        """Hops for those that go on, whose questions are made together; for the others what has been found."""
        values = [self._after(*gathered) for gathered in batch]
        going = {at: value for at, value in enumerate(values) if isinstance(value, Hop)}
        questions = self._asker.asked([Turn(hop.found, hop.new) for hop in going.values()])
        for (at, hop), question in zip(going.items(), questions, strict=True):
            values[at] = self._onward(hop, question)
        return values

    def close(self) -> None:
        """Close it."""
        self._asker.close()

    def _after(self, value: Hop | Passing, *found: Passing) -> Hop | Passing:
        """The question after one more round; the result where that was the last."""
        if not isinstance(value, Hop):
            if passes(value, self._depth):
                self._metrics.count(CACHED, not result_of(value).error)
                return value
            value = Hop(result_of(value), (result_of(value).query.text,))
        self._metrics.count(COMPUTED)
        number = len(value.rounds) + 1
        result = result_of(found[0]) if found else None
        if result is None or result.error:
            why = f"round {number}: {'no ranking' if result is None else result.error}"
            if not value.rounds:
                return msgspec.structs.replace(value.came, error=why, expansion=None)
            return _ended(value, missing=why)
        hop = msgspec.structs.replace(value, rounds=(*value.rounds, named(result, f"round {number}")))
        if not hop.new.hits:
            return _ended(hop, note=self._stopped(hop, "it found nothing new"))
        if number == self._most or (self._until and self._until(hop.found)):
            return _ended(hop)
        return hop

    def _onward(self, hop: Hop, question: Next) -> Hop | Passing:
        """The hop with its next question; the result where there is none, or it was asked before."""
        if isinstance(question, GeneratorError):
            return _ended(hop, missing=f"round {len(hop.rounds) + 1}: {question}")
        if question is None or not question.strip():
            return _ended(hop, note=self._stopped(hop, "there was nothing more to ask"))
        if _said(question) in map(_said, hop.asked):
            return _ended(hop, note=self._stopped(hop, f"{quoted(question)} had been asked before"))
        return msgspec.structs.replace(hop, asked=(*hop.asked, question))

    def _stopped(self, hop: Hop, why: str) -> str:
        return f"iterative() stopped after round {len(hop.rounds)} of {self._most}: {why}"


def iterative(
    pipe: Stage,
    *,
    until: Until | None = None,
    max_rounds: int = 3,
    ask: Generator | Rule | str | None = None,
    prompt: str = "next_question",
) -> Stage:
    """Search in rounds: what a round brings to light is asked in the next, by the same pipeline.

    For questions whose answer takes several passages, of which the second can be found only by what the first says.
    After each round `ask` is given a Result with what it found that is new, and returns the next question, or None;
    a generator (or its name) is shown the best passages so far instead, told so by `prompt`, as in IRCoT (Trivedi et
    al., ACL 2023). By default the question is asked again with the names in the best new passage that it lacks: those
    bridge the hops of most such questions (GoldEn Retriever: Qi et al., EMNLP 2019).

    It ends after `max_rounds`, or when `until` is true of the Result so far, nothing new is found, there is nothing to
    ask, or only what was asked before; a note says which of the latter. The rounds' rankings are fused (rrf), score(d)
    = Σ 1 / (60 + rank(d)); each hit has a step for every round that found it. A round that fails, or a generator, ends
    it with what there is, and is named in `missing`.

    >>> import sage_nb as sage
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     films = sage.Collection(folder + "/films", encoder=None)
    ...     texts = {
    ...         "film": "The director of Solaris was Andrei Tarkovsky.",
    ...         "man": "Tarkovsky was born in Zavrazhye.",
    ...         "other": "Berlin has an airport.",
    ...     }
    ...     _ = films.add([sage.Document(name, text) for name, text in texts.items()], progress=False)
    ...     found = iterative(films.lexical(2), max_rounds=2).search("the home of the director of Solaris")
    >>> for hit in found.hits:
    ...     print(hit.document.id, [(step.stage, step.rank) for step in hit.steps if "round" in step.stage])
    film [('round 1', 1), ('round 2', 1)]
    man [('round 2', 2)]
    >>> found.notes
    ('round 2 asked: “the home of the director of Solaris Andrei Tarkovsky”',)
    """
    asker = as_generator(ask) if isinstance(ask, str) else ask
    return Iterative(as_stage(pipe, "iterative()"), until, max_rounds, asker, prompt)


def texts_of(value: Hop | Passing, depth: int) -> tuple[str, ...]:
    """What is asked in this round: nothing where a result at `depth` is known, or there is none."""
    if isinstance(value, Hop):
        return value.asked[-1:]
    return () if passes(value, depth) else (result_of(value).query.text,)


def _over(value: Hop | Passing) -> bool:
    return not isinstance(value, Hop)


def _ended(hop: Hop, *, note: str = "", missing: str = "") -> Result:
    found = hop.found
    notes, absent = ([note] if note else []), ([missing] if missing else [])
    return msgspec.structs.replace(found, notes=(*found.notes, *notes), missing=(*found.missing, *absent))


def _said(question: str) -> str:
    return " ".join(question.casefold().split())
