"""How much the cells' cache may take: in the environment, as SAGE_HOME is, so that all in a process agree."""

from __future__ import annotations

import math
import os

from sage_nb.errors import BadValueError

CACHE_GIB = "SAGE_CACHE_GIB"
USUAL_GIB = 2.0


def cache_gib() -> float:
    """GiB; BadValueError where `SAGE_CACHE_GIB` is no such number.

    >>> cache_gib()
    2.0
    """
    given = os.environ.get(CACHE_GIB) or str(USUAL_GIB)
    try:
        gib = float(given)
    except ValueError:
        gib = math.nan
    if not 0 < gib < math.inf:
        raise BadValueError(f"{CACHE_GIB} must be a number of GiB above 0, got {given!r}")
    return gib
