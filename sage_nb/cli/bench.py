"""`sage-nb bench`: numbers with the machine's facts beside them, compared within one run."""

from __future__ import annotations

import json
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sage_nb.evaluation.measures import MEASURES, evaluate
from sage_nb.models.device import choose_compute, describe_devices
from sage_nb.records.beir import read_beir
from sage_nb.records.columns import text_table
from sage_nb.retrieval.collection import Collection


def bench_quality(folders: Sequence[str], out: str) -> None:
    """BM25, dense and their reciprocal rank fusion on BEIR folders: a table, and one JSON under `out`."""
    rows = [row for folder in folders for row in _quality(Path(folder))]
    header = ["collection", "pipeline", *MEASURES, "ms/question"]
    print(text_table(header, rows))
    save("quality", out, rows=[dict(zip(header, row, strict=True)) for row in rows])


def save(kind: str, out: str, **found: Any) -> None:
    """Write what was found, with the machine's facts, as one JSON under `out`; say where."""
    compute = choose_compute()
    machine = {"platform": platform.platform(), "compute": str(compute), **dict(describe_devices())}
    path = Path(out) / f"{kind}-{time.strftime('%Y%m%dT%H%M%S')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, **found}))
    print(f"written to {path}")


def _quality(folder: Path) -> list[list[str]]:
    standard = read_beir(folder)
    with tempfile.TemporaryDirectory() as scratch:
        collection = Collection(Path(scratch) / folder.name)
        print(collection.add(standard.documents))
        pipelines = {
            "bm25": collection.lexical(100),
            "dense": collection.dense(100),
            "rrf": collection.hybrid(100),
        }
        rows = []
        for name, pipeline in pipelines.items():
            run = pipeline.run(list(standard.queries))
            means = evaluate(run.results, standard.qrels).mean
            figures = [f"{means[measure]:.4f}" for measure in MEASURES]
            rows.append([folder.name, name, *figures, f"{run.ms_per_question:.1f}"])
    return rows
