"""Documents added on actors by a process of its own: `python -m tests.retrieval.logged ADDRESS FOLDER COUNT`."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

import sage_nb as sage
from sage_nb.runtime.ray.environment import RayEnvironment


class Logging:
    """An encoder that notes each text in a file of its process, and takes the second half once there is a `go`."""

    name, dimension, fingerprint, truncated = "logged", 4, "1", 0

    def __init__(self, log):
        self.log = log

    def encode(self, texts):
        ids = [text.split()[0] for text in texts]
        while any(int(each[1:]) >= self.log.half for each in ids) and not (self.log.folder / "go").exists():
            time.sleep(0.01)
        with (self.log.folder / f"pid-{os.getpid()}").open("a") as file:
            file.write("".join(f"{each}\n" for each in ids))
        return np.tile(np.array([[1, 0, 0, 0]], np.float32), (len(texts), 1))


class Log:
    """Where texts are noted. Wherever it is sent, the encoder is known."""

    def __init__(self, folder, half):
        self.folder, self.half = folder, half
        sage.encoder("logged")(partial(Logging, self))

    def __reduce__(self):
        return Log, (self.folder, self.half)

    def read(self):
        """The ids of the texts by the process that embedded them."""
        files = self.folder.glob("pid-*")
        return {int(file.name.removeprefix("pid-")): file.read_text().split() for file in files}


def main(address, folder, count):
    """Add numbered documents, on two actors."""
    log = Log(folder / "log", count // 2)
    collection = sage.Collection(folder / "ants", encoder="logged")
    documents = [sage.Document(f"d{n}", f"d{n} is about ants") for n in range(count)]
    env = RayEnvironment("add", address=address, resources={Log: log})
    report = collection.add(documents, progress=False, env=env, parallelism=2)
    print("added", report.added, "unchanged", report.unchanged, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
