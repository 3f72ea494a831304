"""What a stage tells of itself: what it needs and gives, what its results depend on, which steps it is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sage_nb.errors import SageError
from sage_nb.models.generator import Generator
from sage_nb.retrieval.identity import folders_of, generations_of, identity_of, parts_of
from sage_nb.retrieval.path import Path
from sage_nb.runtime.cellcache.code import Fingerprinted, Unknown
from sage_nb.stream.api import Stream
from sage_nb.stream.build import How

Kind = Literal["query", "ranking"]


@dataclass(frozen=True)
class Described(ABC):
    """A step of a pipeline or a whole one, as those see it that lay, cache, compare and explain it.

    >>> from sage_nb.retrieval.source import Source
    >>> from sage_nb.retrieval.lexical import Lexical
    >>> from sage_nb.retrieval.stage import Cut
    >>> book = Lexical(Source("handbook"), 100)
    >>> pipe = (book + book) >> Cut(10)
    >>> pipe.needs, pipe.gives, Cut(10).needs, book.label
    ('query', 'ranking', 'ranking', "Collection('handbook').lexical(k=100)")
    >>> len(pipe.steps), len(pipe.steps[0].branches)
    (2, 2)
    >>> book.floor, Cut(10).keeps_scores, Cut(10).keeps, book.keeps
    (0.0, True, False, True)
    >>> book.runs_model, book.waits, book.by_id
    (False, False, False)
    >>> pipe.folders, pipe.generations, dict(book.beside())
    (frozenset({'handbook'}), {'handbook': 0}, {})
    >>> [book.sameness == Lexical(Source("handbook"), k).sameness for k in (100, 50)]
    [True, False]
    >>> type(book.identity()).__name__
    'Fingerprinted'

    What is done with them:

    >>> from sage_nb.records.values import Result
    >>> from sage_nb.retrieval.stage import Applied, Stage
    >>> def found(result):
    ...     return Result(result.query, notes=("nothing",))
    >>> asked = Applied(found)
    >>> asked.search("who?").notes, len(asked.run(["who?", "where?"]).results)
    (('nothing',), 2)
    >>> Stage.from_yaml((0.3 * Cut(10)).to_yaml())
    0.3 * Cut(k=10)

    How one is laid behind a stream:

    >>> from sage_nb.runtime.environment import LocalEnvironment
    >>> stream, path = pipe.laid(LocalEnvironment().from_collection([]), Path(), {})
    >>> stream
    <Stream '% 10'>
    >>> asked.on_stream(stream)
    <Stream 'found'>
    >>> book.lay(stream, path, {})[0], book.inward(path) == path.into_branch()
    (<Stream "Collection('handbook').lexical(k=100)">, True)
    """

    @property
    def needs(self) -> Kind:
        """What a result must already hold."""
        return "query"

    @property
    def gives(self) -> Kind:
        """What a result holds afterwards."""
        return "ranking"

    @property
    def floor(self) -> float | None:
        """The least score it can give, if its scores have one (what `tmm` fusion wants to know)."""
        return None

    @property
    def keeps_scores(self) -> bool:
        """Whether the hits that it leaves have the scores that they came with."""
        return False

    @property
    def steps(self) -> tuple[Any, ...]:
        """The stages of the chain that it is, first to last; itself where it is none."""
        return (self,)

    @property
    def branches(self) -> tuple[Any, ...]:
        """The pipelines that it puts together, where it does."""
        return ()

    @property
    def label(self) -> str:
        """The name of its operator, of its results in a cache, and of its row in `run.stages`."""
        return repr(self)

    @property
    def keeps(self) -> bool:
        """Whether its results are worth a place in a cache: what is quick to compute anew is not."""
        return True

    @property
    def runs_model(self) -> bool:
        """Whether it has a use for a GPU."""
        return False

    @property
    def waits(self) -> bool:
        """Whether others do its work: a generator that is asked for several texts at once, as a server is."""
        return any(isinstance(part, Generator) and part.at_once > 1 for part in parts_of(self))

    @property
    def generations(self) -> Mapping[str, int]:
        """The collections that it reads, by folder, and how often each has been changed by now."""
        return generations_of(self)

    @property
    def folders(self) -> frozenset[str]:
        """The folders of the collections that it reads."""
        return folders_of(self)

    @property
    def by_id(self) -> bool:
        """Whether its results may depend on a question's id: one's own code may look at it, the package's does not."""
        return not type(self).__module__.startswith("sage_nb.")

    def inward(self, path: Path) -> Path:
        """Where the pipelines that it puts together begin, if results come to it by `path`."""
        return path.into_branch()

    def beside(self) -> Mapping[str, Any]:
        """What its results depend on beside its fields, by name: the weights of a model, say."""
        return {}

    def identity(self) -> Fingerprinted | Unknown:
        """What its results depend on beside the question, part by part: fields, collections, models, one's own code."""
        return identity_of(self)

    @property
    def sameness(self) -> Hashable:
        """Equal for stages that give equal results: the digest of all that these depend on, where it can be told."""
        try:
            identity = self.identity()
        except SageError:  # a collection that cannot be read, say: whoever opens it will tell
            identity = Unknown("it cannot be read")
        if isinstance(identity, Fingerprinted):
            return identity.digest
        return self if _is_hashable(self) else id(self)

    def laid(self, stream: Stream, path: Path, how: How) -> tuple[Stream, Path]:
        """Its operators behind a stream that has come by `path`, and the path from there on.

        Where pipelines share a graph, and an equal stage stands there already, it is that one's.
        """
        if path.shared is None or self.steps != (self,):
            return self.lay(stream, path, how)
        return path.shared.stage(stream, path, self.sameness, lambda: self.lay(stream, path, how))

    @abstractmethod
    def lay(self, stream: Stream, path: Path, how: How) -> tuple[Stream, Path]:
        """These operators, laid."""


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
