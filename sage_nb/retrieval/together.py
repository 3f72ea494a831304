"""Several pipelines asked the same questions as one graph: what they have in common is computed once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from typing_extensions import Unpack

from sage_nb.records.values import Query, Result
from sage_nb.retrieval.changes import leaves
from sage_nb.retrieval.path import Path, Shared
from sage_nb.retrieval.recall import Cell, held, marks_of, remembering
from sage_nb.retrieval.run import Answers, Run
from sage_nb.retrieval.stage import Stage
from sage_nb.retrieval.stages import StageCounts, stages_of
from sage_nb.retrieval.turns import Turns
from sage_nb.runtime.environment import Environment, LocalEnvironment
from sage_nb.runtime.job import Job
from sage_nb.stream.api import Stream
from sage_nb.stream.build import How
from sage_nb.stream.graph import Graph, Node

Runner = Environment  # where pipelines run


class PartOfAll(Run):
    """The run of one of several pipelines that share a graph, and its job."""

    def __init__(
        self, stage: Stage, queries: Sequence[Query], answers: Answers, job: Job, uids: frozenset[str]
    ) -> None:
        super().__init__(stage, queries, answers, job)
        self._uids = uids

    @property
    def stages(self) -> Mapping[str, StageCounts]:
        """What its own stages have done, those that it shares with others included."""
        return {name: counts for name, counts in stages_of(self.job.metrics()).items() if name in self._uids}


@dataclass(frozen=True)
class Together:
    """Runs by the names of their pipelines; stages that these name, and different ones among them, which are run."""

    runs: Mapping[str, Run]
    job: Job
    stages_asked: int
    stages_run: int


@dataclass(frozen=True)
class Place:
    """Where pipelines are laid beside each other, for the same questions."""

    env: Environment
    queries: Sequence[Query]
    how: How
    asked: Stream
    cell: Cell | None
    shared: Shared

    @classmethod
    def of(cls, env: Environment, queries: Sequence[Query], how: How) -> Place:
        """With nothing laid yet."""
        asked = env.from_collection([Result(query) for query in queries], name="questions")
        return cls(env, queries, how, asked, env.resource(Cell), Shared())

    def laid(self, stage: Stage) -> tuple[Node | None, Stream]:
        """The last operator of a pipeline's own, if it has any, and the stream of its results."""
        if self.cell is None:
            stream, _ = stage.laid(self.asked, Path(shared=self.shared), self.how)
            return stream.node, stream
        last = marks_of(stage)[-1]
        known = held(last, self.queries, self.cell)
        if known is not None:
            return None, self.env.from_collection(known, name="cache")
        stream, _ = stage.laid(self.asked, Path.kept(self.shared), self.how)
        return stream.node, remembering(stream, stage, last)


def together(
    pipelines: Mapping[str, Stage],
    queries: Sequence[Query],
    env: Environment | None = None,
    cell: Cell | None = None,
    **how: Unpack[How],
) -> Together:
    """Begin to ask all of these pipelines, in the settings of `env`; equal parts of their expressions are one operator.

    Parts are equal where what they depend on is: a function written twice is one. (A source of `multi_source` is not
    equal to the same pipeline outside of one: it may be late, or fail.) Where there is a `cell`, or `env` has one,
    results are found in its cache and kept there, under the keys of a run of any one of the pipelines; one whose last
    results are all held has no operators, for it asks nothing of its stages. Unless `env` has operators of several
    subtasks, they compute in turn, so that the time of each can be told.

    >>> calls = []
    >>> def look(result):
    ...     calls.append(result.query.id)
    ...     return result
    >>> from sage_nb.retrieval.stage import Applied
    >>> begun = together({"all": Applied(look), "some": Applied(look) % 5}, [Query("q", "who?")])
    >>> [len(run.results) for run in begun.runs.values()], calls
    ([1, 1], ['q'])
    >>> begun.stages_asked, begun.stages_run
    (3, 2)
    """
    given = env or LocalEnvironment("experiment")
    given = given if cell is None else given.lending(cell)
    scratch = given.lending(Turns()) if given.parallelism == 1 else given.anew()
    place = Place.of(scratch, queries, how)
    ends, answers = {}, {name: Answers() for name in pipelines}
    for name, stage in pipelines.items():
        ends[name], stream = place.laid(stage)
        stream.sink(answers[name], name="answers", parallelism=1)
    graph = scratch.graph()
    job = scratch.submit()
    runs = {
        name: PartOfAll(stage, queries, answers[name], job, upstream(graph, ends[name]))
        for name, stage in pipelines.items()
    }
    return Together(runs, job, sum(len(list(leaves(stage))) for stage in pipelines.values()), place.shared.stages)


def upstream(graph: Graph, node: Node | None) -> frozenset[str]:
    """The ids of an operator, where there is one, and of all that it depends on."""
    return frozenset(graph.uids[each] for each in _upstream(node, set())) if node else frozenset()


def _upstream(node: Node, seen: set[Node]) -> Iterator[Node]:
    if node not in seen:
        seen.add(node)
        yield node
        for read in node.inputs:
            yield from _upstream(read.node, seen)
