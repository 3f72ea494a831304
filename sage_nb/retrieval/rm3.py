"""RM3: the question's terms mixed with those of the passages that it found first (pseudo-relevance feedback)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path as Folder

import msgspec

from sage_nb.errors import BadValueError
from sage_nb.index.analysis import get_analyzer
from sage_nb.index.text import indexed_text
from sage_nb.records.values import Expansion, Hit, Result
from sage_nb.retrieval.described import Kind
from sage_nb.retrieval.given import check_k, check_share, printed
from sage_nb.retrieval.path import Path
from sage_nb.retrieval.ranking import Retrieving
from sage_nb.retrieval.resources import COLLECTIONS
from sage_nb.retrieval.stage import Operation, Stage
from sage_nb.retrieval.yaml import stage
from sage_nb.stream.function import MapFunction

Weights = Mapping[str, float]

SHOWN = 8  # terms that a note tells


@stage("rm3")
@dataclass(frozen=True, repr=False)
class Rm3(Operation):
    """Expands each question by terms of its best `docs` hits."""

    docs: int = 10
    terms: int = 10
    weight: float = 0.6
    analyzer: str = ""

    def __post_init__(self) -> None:
        check_k(self.docs, "rm3()", "docs")
        check_k(self.terms, "rm3()", "terms")
        object.__setattr__(self, "weight", check_share(self.weight, "rm3()", "weight"))
        if self.analyzer:
            get_analyzer(self.analyzer)

    def __repr__(self) -> str:
        named = f", analyzer={self.analyzer!r}" if self.analyzer else ""
        return f"rm3(docs={self.docs}, terms={self.terms}, weight={printed(self.weight)}{named})"

    @property
    def needs(self) -> Kind:
        """A ranking to learn from."""
        return "ranking"

    @property
    def gives(self) -> Kind:
        """Another question for the next retriever."""
        return "query"

    def function(self) -> Retrieving:
        """For hits of collections that are not known here."""
        return Feedback(self, {})

    def function_after(self, path: Path) -> Retrieving:
        """For hits of the collections on the way."""
        analyzers = defaultdict(set)
        for folder in path.folders:
            analyzers[Folder(folder).name].add(COLLECTIONS.folder(folder).snapshot().manifest.settings.analyzer)
        return Feedback(self, {name: tuple(sorted(each)) for name, each in analyzers.items()})


class Feedback(MapFunction[Result, Result]):
    """The running half of `Rm3`; `analyzers` are those of the collections of each name."""

    def __init__(self, stage: Rm3, analyzers: Mapping[str, tuple[str, ...]]) -> None:
        self.stage, self.analyzers = stage, analyzers

    def map(self, value: Result, /) -> Result:
        """The question with its expansion, without the hits; as it is where there were none."""
        hits = value.hits[: self.stage.docs]
        if not hits:
            note = f"{self.stage!r}: no hits to expand the question by"
            return msgspec.structs.replace(value, notes=(*value.notes, note))
        name = self.stage.analyzer or self._analyzer(hits)
        analyze = get_analyzer(name)
        question = shares(analyze(value.query.text))
        passages = [shares(analyze(indexed_text(hit.document))) for hit in hits]
        model = best(relevance(passages, weights_of([hit.score for hit in hits])), self.stage.terms)
        mixed = interpolated(question, model, self.stage.weight)
        return msgspec.structs.replace(
            value,
            hits=(),
            notes=(*value.notes, f"rm3: {_shown(mixed)}") if mixed else value.notes,
            expansion=Expansion(tuple(mixed.items()), analyzer=name),
        )

    def _analyzer(self, hits: Sequence[Hit]) -> str:
        """The one analyzer of all collections that the hits come from."""
        names = sorted({hit.collection for hit in hits})
        if unknown := [name for name in names if name not in self.analyzers]:
            raise BadValueError(
                f"{self.stage!r} got hits of {unknown[0]!r}, which is no collection on their way here, so it is not "
                f"known how their text is cut into terms; name the analyzer: rm3(analyzer='english')"
            )
        found = {each: name for name in names for each in self.analyzers[name]}
        if len(found) > 1:
            said = " and ".join(f"{name!r} (analyzer {each!r})" for each, name in sorted(found.items()))
            raise BadValueError(
                f"{self.stage!r} got hits of {said}, whose terms have nothing to do with each other; "
                f"put an rm3() behind each retriever"
            )
        return next(iter(found))


def rm3(docs: int = 10, terms: int = 10, weight: float = 0.6, *, analyzer: str = "") -> Stage:
    """Expand the question by what its best `docs` hits are about, for the lexical retriever that comes next.

    The relevance model RM1 (Lavrenko & Croft, SIGIR 2001) says how likely a term is where the question is answered;
    its likeliest `terms`, scaled to a sum of 1, are mixed with the question (RM3: Abdul-Jaleel et al., TREC 2004):

        P(t | R) = Σ P(d) · tf(t, d) / |d|   over the hits d,      P(d) = exp(score(d)) / Σ exp(score)
        weight(t) = weight · tf(t, q) / |q|  +  (1 - weight) · P(t | R)

    BM25's score is about the logarithm of the odds that a passage is relevant (Robertson & Zaragoza, 2009), so that the
    first few hits count most; scores that lie close together, such as cosines, make all hits count alike. Terms are
    index terms of the collection that the hits come from, or of `analyzer`; equally likely ones are taken in the order
    of the alphabet. A question without hits stays as it is, and a note says so.

    RM3 is for questions that many passages answer: it finds more of them (R@100), and where one passage answers, it
    may rank that one lower than BM25 alone.

    >>> from tempfile import TemporaryDirectory
    >>> from sage_nb.records.values import Document
    >>> from sage_nb.retrieval.collection import Collection
    >>> with TemporaryDirectory() as folder:
    ...     zoo = Collection(folder + "/zoo", encoder=None)
    ...     texts = ["The quagga was a zebra.", "A zebra has stripes.", "Ants have no stripes."]
    ...     _ = zoo.add([Document(f"d{n}", text) for n, text in enumerate(texts)], progress=False)
    ...     plain, expanded = zoo.lexical(3), zoo.lexical(1) >> rm3(docs=1, terms=2) >> zoo.lexical(3)
    ...     [[hit.document.id for hit in each.search("quagga").hits] for each in (plain, expanded)]
    ...     print(*expanded.search("quagga").notes)
    [['d0'], ['d0', 'd1']]
    rm3: quagga 0.8, zebra 0.2
    """
    return Rm3(docs, terms, weight, analyzer)


def weights_of(scores: Sequence[float]) -> list[float]:
    """P(d) of the hits that have these scores.

    >>> from math import log
    >>> [round(each, 6) for each in weights_of([log(6), log(2)])]
    [0.75, 0.25]
    >>> weights_of([-3.0, -3.0])
    [0.5, 0.5]
    """
    odds = [exp(score - max(scores)) for score in scores]
    return [each / sum(odds) for each in odds]


def shares(terms: Sequence[str]) -> Weights:
    """The share of each among these terms: tf(t, d) / |d|.

    >>> shares(["ray", "light", "ray", "ray"])
    {'ray': 0.75, 'light': 0.25}
    """
    return {term: count / len(terms) for term, count in Counter(terms).items()}


def relevance(passages: Sequence[Weights], weights: Sequence[float]) -> Weights:
    """P(t | R) by RM1: passages' shares of terms, each passage with its weight.

    >>> relevance([{"ray": 1.0}, {"ray": 0.5, "light": 0.5}], [0.5, 0.5])
    {'ray': 0.75, 'light': 0.25}
    """
    model: defaultdict[str, float] = defaultdict(float)
    for passage, weight in zip(passages, weights, strict=True):
        for term, share in passage.items():
            model[term] += weight * share
    return dict(model)


def best(model: Weights, count: int) -> Weights:
    """The likeliest `count` terms, scaled to a sum of 1; equally likely ones by name.

    >>> best({"ray": 0.75, "light": 0.25, "bend": 0.25}, 2)
    {'ray': 0.75, 'bend': 0.25}
    """
    kept = sorted(model.items(), key=lambda pair: (-pair[1], pair[0]))[:count]
    total = sum(share for _, share in kept)
    return {term: share / total for term, share in kept} if total else {}


def interpolated(question: Weights, model: Weights, weight: float) -> Weights:
    """RM3: `weight` of the question's terms and the rest of the model's; without the terms that come to nothing.

    >>> interpolated({"ray": 1.0}, {"ray": 0.5, "light": 0.5}, 0.5)
    {'ray': 0.75, 'light': 0.25}
    """
    terms = dict.fromkeys((*question, *model))
    mixed = {term: weight * question.get(term, 0.0) + (1 - weight) * model.get(term, 0.0) for term in terms}
    return {term: each for term, each in sorted(mixed.items(), key=lambda pair: (-pair[1], pair[0])) if each}


def _shown(weights: Weights) -> str:
    told = [f"{term} {weight:.2g}" for term, weight in [*weights.items()][:SHOWN]]
    return ", ".join([*told, *(["…"] if len(weights) > SHOWN else [])])
