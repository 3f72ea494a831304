"""A cross-encoder before its training: the bundled encoder's weights, and a head that knows nothing yet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sage_nb.models.library import quietly
from sage_nb.models.weights import bundled_folder

LAYERS = (0, 1, 2, 3, 4, 5)  # all that the bundled encoder has


def untrained_cross_encoder(folder: Path, seed: int = 0, layers: Sequence[int] = LAYERS) -> str:
    """Write one into `folder`, which it gives back; the head is drawn with `seed`, `layers` of the encoder are kept.

    >>> from tempfile import TemporaryDirectory
    >>> from sage_nb.models.registry import Models
    >>> with TemporaryDirectory() as folder:
    ...     model = Models().cross_encoder(untrained_cross_encoder(Path(folder), layers=(0, 1, 2)))
    ...     model.score([("who holds the lock?", "a thread holds it")]).shape
    (1,)
    """
    import torch
    from sentence_transformers import CrossEncoder

    torch.manual_seed(seed)
    with quietly():
        model = CrossEncoder(str(bundled_folder()), num_labels=1, device="cpu")
        encoder = model.model.bert.encoder
        encoder.layer = torch.nn.ModuleList(encoder.layer[each] for each in layers)
        model.model.config.num_hidden_layers = len(layers)
        model.save_pretrained(str(folder))
    return str(folder)
