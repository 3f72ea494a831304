"""`sage-nb bench`: numbers with the machine's facts beside them, compared within one run."""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path
from typing import Any

from sage_nb.models.device import choose_compute, describe_devices
from sage_nb.models.machine import describe_cpu
from sage_nb.retrieval.history import versions


def save(kind: str, out: str, **found: Any) -> None:
    """Write what was found, with the machine's facts, as one JSON under `out`; say where."""
    compute = choose_compute()
    run_on = f"{compute.device} in {compute.dtype}"
    machine = {"platform": platform.platform(), **describe_cpu(), **dict(describe_devices()), "models run on": run_on}
    path = Path(out) / f"{kind}-{time.strftime('%Y%m%dT%H%M%S')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "libraries": versions(), **found}))
    print(f"written to {path}")
