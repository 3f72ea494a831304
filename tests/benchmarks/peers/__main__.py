"""Runs one peer: `python -m tests.benchmarks.peers NAME FOLDER`.

FOLDER has settings.json, documents.jsonl and questions.jsonl. A request is a line of JSON on stdin, its answer one on
stdout: `{"do": "index"}`, `{"do": "ask", "most": 5}`. The first line tells how long loading took, and the versions.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.peers import Peer, Ranking, Settings, Text


class Bench:
    """A peer at work, and its times."""

    def __init__(self, name: str, folder: Path) -> None:
        self._documents = [Text(*row) for row in rows(folder / "documents.jsonl")]
        self._questions = dict(rows(folder / "questions.jsonl"))
        begun = time.perf_counter()
        kind: type[Peer] = importlib.import_module(f"tests.benchmarks.peers.{name}").PEER
        self._peer = kind(Settings(**json.loads((folder / "settings.json").read_text(encoding="utf8"))))
        versions = {package: version(package) for package in kind.packages}
        self.loaded = {"seconds": time.perf_counter() - begun, "versions": versions}

    def prepare(self) -> dict[str, object]:
        """What the peer chose."""
        return {"chosen": self._peer.prepare(self._documents)}

    def index(self) -> dict[str, object]:
        """Seconds for all documents."""
        begun = time.perf_counter()
        self._peer.index(self._documents)
        return {"seconds": time.perf_counter() - begun}

    def ask(self, most: int) -> dict[str, object]:
        """The rankings of the first so many questions, and the seconds of each, one after the other."""
        asked = list(self._questions.items())[:most]
        self._peer.search(asked[0][1])  # warm
        seconds: list[float] = []
        rankings: dict[str, Ranking] = {}
        for name, question in asked:
            begun = time.perf_counter()
            rankings[name] = self._peer.search(question)
            seconds.append(time.perf_counter() - begun)
        return {"seconds": seconds, "rankings": rankings}

    def stream(self, most: int) -> dict[str, object]:
        """The rankings of the first so many questions, and the seconds for all of them together."""
        asked = dict(list(self._questions.items())[:most])
        begun = time.perf_counter()
        found = self._peer.search_all(list(asked.values()))
        return {"seconds": time.perf_counter() - begun, "rankings": dict(zip(asked, found, strict=True))}


def rows(path: Path) -> list[list[str]]:
    """Each line's."""
    return [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]


def main(name: str, folder: str) -> None:
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf8")
    os.dup2(2, 1)  # what libraries print is no answer
    bench = Bench(name, Path(folder))
    print(json.dumps(bench.loaded), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(bench, request.pop("do"))(**request)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
