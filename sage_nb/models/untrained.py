"""A cross-encoder before its training: the bundled encoder's weights, and a head that knows nothing yet."""

from __future__ import annotations

from pathlib import Path

from sage_nb.models.inference import quietly
from sage_nb.models.weights import bundled_folder


def untrained_cross_encoder(folder: Path, seed: int = 0) -> str:
    """Write one into `folder`, which it gives back; the head is drawn with `seed`.

    >>> from tempfile import TemporaryDirectory
    >>> from sage_nb.models.registry import Models
    >>> with TemporaryDirectory() as folder:
    ...     model = Models().cross_encoder(untrained_cross_encoder(Path(folder)))
    ...     model.score([("who holds the lock?", "a thread holds it")]).shape
    (1,)
    """
    import torch
    from sentence_transformers import CrossEncoder

    torch.manual_seed(seed)
    with quietly():
        CrossEncoder(str(bundled_folder()), num_labels=1, device="cpu").save_pretrained(str(folder))
    return str(folder)
