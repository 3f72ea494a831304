"""kill -9 while documents are added: the old snapshot or the new, never anything else."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from sage_nb.index.folder import IndexFolder

KILLS = 50
WRITER = """
import sys
from pathlib import Path
from tests.index.making import SETTINGS, segment, IndexFolder
folder = IndexFolder(Path(sys.argv[1]))
IndexFolder(Path(sys.argv[1] + "-warm")).commit(SETTINGS, segment({"w": "warm"}))  # every library is loaded now
n = max(0, folder.snapshot().rows - 1)
print("ready", flush=True)
while True:
    folder.commit(SETTINGS, segment({f"d{n}": "ant bee " * (n % 7 + 1), "latest": f"cow {n}"}))
    n += 1
    print(n, flush=True)
"""


def killed_after(path: Path, seconds: float) -> int:
    """How many documents the writer said were committed when it was killed."""
    command = [sys.executable, "-c", WRITER, str(path)]
    writer = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "ready\n"
    time.sleep(seconds)
    os.kill(writer.pid, signal.SIGKILL)
    said = writer.stdout.read().split()
    writer.stdout.close()
    writer.wait()
    return int(said[-1]) if said else 0


def test_fifty_kills_lose_no_committed_document(tmp_path):
    seed = int(os.environ.get("SAGE_TEST_SEED", "20261123"))
    print("seed", seed)
    moments, said = random.Random(seed), 0
    for _ in range(KILLS):
        said = max(said, killed_after(tmp_path, moments.uniform(0, 0.15)))
        snapshot = IndexFolder(tmp_path).snapshot()
        rows = max(0, snapshot.rows - 1)
        assert said <= rows <= said + 1, "a commit is in, or was under way"
        found = {document.id: document.text for document in snapshot.documents()}
        latest = {"latest": f"cow {rows - 1}"} if rows else {}
        assert found == {f"d{n}": "ant bee " * (n % 7 + 1) for n in range(rows)} | latest, "replaced in the same step"
        said = rows
    assert said > KILLS, "the writer must have got somewhere for this to mean anything"
