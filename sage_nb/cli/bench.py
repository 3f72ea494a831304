"""`sage-nb bench`: numbers with the machine's facts beside them, compared within one run."""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path
from typing import Any

from sage_nb.models.device import choose_compute, describe_devices


def save(kind: str, out: str, **found: Any) -> None:
    """Write what was found, with the machine's facts, as one JSON under `out`; say where."""
    compute = choose_compute()
    machine = {"platform": platform.platform(), "compute": str(compute), **dict(describe_devices())}
    path = Path(out) / f"{kind}-{time.strftime('%Y%m%dT%H%M%S')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, **found}))
    print(f"written to {path}")
