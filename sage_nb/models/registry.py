"""Models by name: the bundled one, folders, hub names, and one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import TypeVar

from sage_nb.models.cross_encoder import CrossEncoder, PairScorer
from sage_nb.models.device import allotted_compute, choose_compute
from sage_nb.models.encoder import Encoder, SentenceEncoder
from sage_nb.models.late_interaction import LateInteraction
from sage_nb.models.weights import model_folder, weights_hash

EncoderFactory = TypeVar("EncoderFactory", bound=Callable[[], Encoder])
CrossEncoderFactory = TypeVar("CrossEncoderFactory", bound=Callable[[], CrossEncoder])

DEFAULT_ENCODER = "bundled"
LATE_INTERACTION = "late-interaction"
DEFAULT_RERANKER = LATE_INTERACTION

ENCODERS: dict[str, Callable[[], Encoder]] = {}
CROSS_ENCODERS: dict[str, Callable[[], CrossEncoder]] = {}


def encoder(name: str) -> Callable[[EncoderFactory], EncoderFactory]:
    """Register the factory (a class, say) of one's own encoder, for `Collection(encoder=name)`.

    >>> import numpy as np
    >>> @encoder("vowels")
    ... class Vowels:
    ...     name, dimension, fingerprint, truncated = "vowels", 5, "1", 0
    ...
    ...     def encode(self, texts):
    ...         counts = np.array([[text.count(each) for each in "aeiou"] for text in texts], np.float32)
    ...         return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1)
    >>> Models().encoder("vowels").encode(["a stone"]).argsort()[0, :2].tolist()  # it has no i and no u
    [2, 4]
    """

    def register(factory: EncoderFactory) -> EncoderFactory:
        ENCODERS[name] = factory
        return factory

    return register


def cross_encoder(name: str) -> Callable[[CrossEncoderFactory], CrossEncoderFactory]:
    """Register the factory of one's own cross-encoder, for `rerank(model=name)`.

    >>> import numpy as np
    >>> @cross_encoder("shortest")
    ... class Shortest:
    ...     name, fingerprint, truncated = "shortest", "1", 0
    ...
    ...     def score(self, pairs):
    ...         return np.array([-len(passage) for _, passage in pairs], np.float32)
    >>> Models().cross_encoder("shortest").score([("q", "abc")]).tolist()
    [-3.0]
    """

    def register(factory: CrossEncoderFactory) -> CrossEncoderFactory:
        CROSS_ENCODERS[name] = factory
        return factory

    return register


@dataclass(frozen=True)
class OwnModels:
    """Factories of one's own models, on their way to a process in which nobody has registered them."""

    encoders: Mapping[str, Callable[[], Encoder]]
    cross_encoders: Mapping[str, Callable[[], CrossEncoder]]

    @classmethod
    def named(cls, *, encoder: str = "", cross_encoder: str = "") -> OwnModels:
        """Of these names, as far as they are one's own.

        >>> OwnModels.named(encoder="bundled").encoders
        {}
        """
        return cls(_only(ENCODERS, encoder), _only(CROSS_ENCODERS, cross_encoder))

    def introduce(self) -> None:
        """Register them here."""
        ENCODERS.update(self.encoders)
        CROSS_ENCODERS.update(self.cross_encoders)


class Models:
    """Loads each model once and keeps it, until its folder holds other weights, or its name another factory.

    `context.get(sage.Models)`, in the `open` of a function of your own, gives those that its process shares.

    >>> models = Models()
    >>> models.encoder().encode(["a barrier"]).shape
    (1, 384)
    >>> good, bad = models.cross_encoder().score([("what scatters?", "Rays scatter."), ("what scatters?", "It rains.")])
    >>> bool(good > bad), models.encoder_fingerprint() in models.reranker_fingerprint()  # it looks with the same
    (True, True)
    """

    def __init__(self) -> None:
        self._encoders: dict[str, tuple[object, Encoder]] = {}
        self._cross_encoders: dict[str, tuple[object, CrossEncoder]] = {}
        self._lock = RLock()

    def encoder(self, name: str = DEFAULT_ENCODER) -> Encoder:
        """The encoder called `name`: registered, bundled, a folder, or a hub name."""
        with self._lock:
            return _held(self._encoders, name, ENCODERS, lambda: _load(name, ENCODERS, SentenceEncoder))

    def encoder_fingerprint(self, name: str = DEFAULT_ENCODER) -> str:
        """What its vectors depend on: its weights and the precision it runs in; loads one's own models only.

        Raises ModelError where it is not at hand.
        """
        if name in ENCODERS:
            return f"{name} {self.encoder(name).fingerprint}"
        return f"{weights_hash(model_folder(name))} {choose_compute().dtype}"

    def cross_encoder(self, name: str | None = None) -> CrossEncoder:
        """The scorer of pairs called `name`: registered, bundled, a folder or a hub name; without one the default."""
        wanted = name or DEFAULT_RERANKER
        with self._lock:
            return _held(self._cross_encoders, wanted, CROSS_ENCODERS, lambda: self._scorer(wanted))

    def reranker_fingerprint(self, name: str | None = None) -> str:
        """What the scores of a `cross_encoder` depend on: its weights and the precision it runs in.

        Loads one's own models only. Raises ModelError where it is not at hand.
        """
        wanted = name or DEFAULT_RERANKER
        if wanted in CROSS_ENCODERS:
            return f"{wanted} {self.cross_encoder(wanted).fingerprint}"  # of its own making: unique under its name only
        if wanted == LATE_INTERACTION:
            return f"{wanted} {self.encoder_fingerprint()}"
        return f"{weights_hash(model_folder(wanted))} {choose_compute().dtype}"

    def _scorer(self, name: str) -> CrossEncoder:
        if name == LATE_INTERACTION and name not in CROSS_ENCODERS:
            held = self.encoder()  # the one that embeds, unless its name was given to another kind
            return LateInteraction(
                held if isinstance(held, SentenceEncoder) else _load(DEFAULT_ENCODER, {}, SentenceEncoder)
            )
        return _load(name, CROSS_ENCODERS, PairScorer)


Model = TypeVar("Model")
Factory = TypeVar("Factory")


def _only(registered: Mapping[str, Factory], name: str) -> dict[str, Factory]:
    return {name: registered[name]} if name in registered else {}


def _held(
    held: dict[str, tuple[object, Model]],
    name: str,
    registered: Mapping[str, Callable[[], Model]],
    load: Callable[[], Model],
) -> Model:
    """The model that is held, if it is still the one of that name."""
    made_of = registered.get(name) or (weights_hash(Path(name)) if Path(name).is_dir() else name)
    if name not in held or held[name][0] != made_of:
        held[name] = made_of, load()
    return held[name][1]


def _load(name: str, registered: dict[str, Callable[[], Model]], library: Callable[..., Model]) -> Model:
    if name in registered:
        return registered[name]()
    return library(name, model_folder(name), allotted_compute())
