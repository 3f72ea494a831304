"""Runs that are kept: what was asked, of which pipeline, what each stage did, and the results, in `.sage/runs`."""

from __future__ import annotations

import platform
import shutil
import time
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import msgspec

from sage_nb.errors import SageError, UnknownNameError
from sage_nb.records.codec import decode, encode
from sage_nb.records.disk import home, replace
from sage_nb.records.values import Document, Hit, Query, Result
from sage_nb.retrieval.answered import Answered
from sage_nb.retrieval.changes import StepFacts, changes, step_facts
from sage_nb.retrieval.yaml import from_yaml
from sage_nb.runtime.environment import Environment

FACTS, RESULTS = "run.json", "results"
LIBRARIES = ("sage-nb", "torch", "sentence-transformers", "faiss-cpu", "ray", "numpy")


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A run: `begun` in seconds since the epoch, `written` the pipeline as YAML ("" where it cannot be written)."""

    id: str
    name: str
    status: str
    begun: float
    seconds: float
    pipeline: str
    written: str
    cell: str
    steps: tuple[StepFacts, ...]
    stages: dict[str, dict[str, float]]
    questions: tuple[Query, ...]
    answered: int
    environment: dict[str, str]
    versions: dict[str, str]


class KeptResults(msgspec.Struct, frozen=True):
    """Results whose hits name their documents only, and each of those once."""

    results: tuple[Result, ...]
    documents: dict[str, Document]

    @classmethod
    def of(cls, results: Sequence[Result]) -> KeptResults:
        """Without what stands in many hits."""
        documents: dict[str, Document] = {}
        bare = [_with_documents(result, lambda hit: _named(hit, documents)) for result in results]
        return cls(tuple(bare), documents)

    def whole(self) -> dict[str, Result]:
        """By their questions' ids."""
        return {r.query.id: _with_documents(r, lambda hit: self.documents[hit.document.id]) for r in self.results}


def _with_documents(result: Result, document: Callable[[Hit], Document]) -> Result:
    hits = tuple(msgspec.structs.replace(hit, document=document(hit)) for hit in result.hits)
    return msgspec.structs.replace(result, hits=hits)


def _named(hit: Hit, documents: dict[str, Document]) -> Document:
    """A document that is only a number, under which the real one lies in `documents`."""
    key = f"{hit.collection}\0{hit.document.id}"
    documents.setdefault(key, hit.document)
    return Document(key, "")


class KeptRun(Answered):
    """A run of the past."""

    def __init__(self, facts: RunFacts, results: Mapping[str, Result]) -> None:
        super().__init__(facts.pipeline, facts.questions)
        self.run_facts, self._results = facts, results

    @property
    def so_far(self) -> list[Result]:
        """Its results, in the order of their questions."""
        return [self._results[query.id] for query in self.queries if query.id in self._results]

    @property
    def results(self) -> list[Result]:
        """All of them; SageError where the run ended before it had answered all."""
        return list(self)

    @property
    def status(self) -> str:
        """How it ended."""
        return self.run_facts.status

    @property
    def stages(self) -> Mapping[str, Mapping[str, float]]:
        """What each stage did."""
        return self.run_facts.stages

    @property
    def seconds(self) -> float:
        """Wall-clock seconds from the start to the last answer."""
        return self.run_facts.seconds

    def reproduce(self, env: Environment | None = None) -> Answered:
        """Ask the same pipeline the same questions again, and keep nothing.

        Warns where something that it depends on is not what it was. Raises SageError where the pipeline holds code of
        one's own, which is not written down with a run.
        """
        facts = self.run_facts
        if not facts.written:
            raise SageError(f"the pipeline of {facts.id} holds code of your own; run its cell again:\n{facts.cell}")
        stage = from_yaml(facts.written)
        for label, what in changes(facts.steps, step_facts(stage)).items():
            if what:
                warnings.warn(f"{facts.id} is not the same any more: {label}: {'; '.join(what)}", stacklevel=2)
        run: Answered = stage.run(list(facts.questions), env=env)
        return run

    def answer(self, query: Query) -> Result:
        """Its result."""
        if query.id not in self._results:
            raise SageError(f"the run was {self.status} before it came to question {query.id!r}; run its cell again")
        return self._results[query.id]


@dataclass(frozen=True)
class History:
    """The runs in a folder, the newest `most` of them.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     History(Path(folder)).runs()
    []
    """

    folder: Path
    most: int = 500

    @classmethod
    def at_home(cls) -> History:
        """`runs` in `SAGE_HOME`, else in `.sage`."""
        return cls(home() / "runs")

    def keep(self, facts: RunFacts, results: Sequence[Result]) -> None:
        """Keep a run; the oldest beyond `most` go.

        Raises SageError where the disk does not take it.
        """
        place = self.folder / facts.id
        try:
            place.mkdir(parents=True, exist_ok=True)
            replace(place / RESULTS, encode(KeptResults.of(results)))
            replace(place / FACTS, msgspec.json.format(msgspec.json.encode(facts)))  # last: with it, the run is there
            for old in self._ids()[self.most :]:
                shutil.rmtree(self.folder / old, ignore_errors=True)
        except OSError as error:
            raise SageError(f"the run {facts.id} cannot be kept in {self.folder}: {error.strerror or error}") from error

    def runs(self, name: str | None = None) -> list[RunFacts]:
        """The newest first; all, or those of one name. What cannot be read is left out."""
        found = (self._facts(each) for each in self._ids())
        return [facts for facts in found if facts is not None and name in (None, facts.name)]

    def last(self, name: str) -> RunFacts | None:
        """The newest of that name."""
        found = (self._facts(each) for each in self._ids() if _name_of(each) == name)
        return next((facts for facts in found if facts is not None), None)

    def load(self, which: str) -> KeptRun:
        """The run with that id, or the newest of that name.

        Raises UnknownNameError where there is none, BadValueError where it is damaged.
        """
        ids = self._ids()
        found = which if which in ids else next((each for each in ids if _name_of(each) == which), None)
        facts = self._facts(found) if found else None
        if found is None or facts is None:
            raise UnknownNameError.of("run", which, [*ids[:10], *{_name_of(each) for each in ids}])
        return KeptRun(facts, decode((self.folder / found / RESULTS).read_bytes(), KeptResults).whole())

    def _ids(self) -> list[str]:
        """Their folders, the newest first: the time is what an id begins with."""
        return sorted((path.parent.name for path in self.folder.glob(f"*/{FACTS}")), reverse=True)

    def _facts(self, which: str) -> RunFacts | None:
        try:
            return msgspec.json.decode((self.folder / which / FACTS).read_bytes(), type=RunFacts)
        except (OSError, msgspec.MsgspecError):
            return None


def new_id(name: str, begun: float) -> str:
    """A run's id: when it began (UTC), its name, and what tells it from another of that moment.

    >>> new_id("answers", 0.25)[:28]
    '19700101-000000.250-answers-'
    """
    moment = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(begun))}.{int(begun * 1000) % 1000:03d}"
    return f"{moment}-{name}-{uuid.uuid4().hex[:4]}"


def versions() -> dict[str, str]:
    """Of Python and of the libraries that results depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def _name_of(which: str) -> str:
    return which.split("-", 2)[-1].rpartition("-")[0]
