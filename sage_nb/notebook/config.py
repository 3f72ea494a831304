"""Defaults of the `%%sage` cell, for `%config Sage` and IPython's configuration files."""

from __future__ import annotations

import os
from typing import Any

from traitlets import Float, Int, Unicode, Union, default
from traitlets.config import Configurable

from sage_nb.runtime.cellcache.limit import CACHE_GIB, cache_gib


class Sage(Configurable):
    """What a `%%sage` cell does where its first line does not say.

    >>> Sage(top=3).defaults()["top"]
    3
    """

    env = Unicode("local", help="where pipelines run: local (threads of this kernel) or ray").tag(config=True)
    parallelism = Union([Int(), Unicode()], default_value=1, help='subtasks of each operator, or "auto"').tag(
        config=True
    )
    gpus = Float(0.0, help="the share of a GPU for each operator with a model, with env = ray").tag(config=True)
    checkpoint_every = Float(0.0, help="seconds between commits of results; 0: as they come").tag(config=True)
    top = Int(5, help="hits to show for each question").tag(config=True)
    cache_gib = Float(help="GiB that the cell cache may take; the least recently used goes").tag(config=True)

    @default("cache_gib")
    def _cache_gib_of_the_process(self) -> float:
        return cache_gib()

    def tell_limit(self) -> None:
        """Whatever opens the cache in this process, cell or not, keeps to `cache_gib` from now on.

        >>> Sage(cache_gib=1.5).tell_limit()
        >>> os.environ.pop(CACHE_GIB)
        '1.5'
        """
        os.environ[CACHE_GIB] = str(self.cache_gib)

    def defaults(self) -> dict[str, Any]:
        """The options of a cell."""
        return {name: getattr(self, name) for name in ("env", "parallelism", "gpus", "checkpoint_every", "top")}
