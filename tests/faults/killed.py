"""The job that `test_kill` kills: run as `python -m tests.faults.killed FOLDER RECORDS REST`."""

from __future__ import annotations

import sys

from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.stream.sink import JsonlSink
from tests.runtime.jobs import Paced, Running, clicks


def main(folder: str, records: int, rest: float) -> None:
    """Number the records of each key, into files."""
    checkpoint = Checkpointing(f"{folder}/ckpt", every=0.02)
    env = LocalEnvironment("killed", parallelism=2, checkpoint=checkpoint)
    source = env.from_source(Paced(clicks(records, keys=7), clicks(records, keys=7, name="m"), rest=rest))
    source.key_by("key").process(Running()).key_by("n").map(lambda r: r).sink(JsonlSink(f"{folder}/out"))
    job = env.submit()
    print("running", flush=True)
    job.wait()
    print("finished", job.unbalanced(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
