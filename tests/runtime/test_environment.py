"""The surface of the streams: the example of the design, names at the package's door, graphs that can be read."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

import sage_nb as sage
from tests.runtime.jobs import finished

STREAMS = [name for name, home in sage._HOME.items() if home.startswith(("sage_nb.stream", "sage_nb.runtime"))]
HEAVY = ("torch", "faiss", "ray", "pandas", "pyarrow", "sentence_transformers", "IPython", "scipy", "matplotlib")


class Clicks(sage.SourceFunction):
    """Two users' clicks, one every 5 seconds, as lines of text."""

    def read(self, split, start):
        yield from (f"{'ann' if n % 3 else 'bob'} {5 * n}" for n in range(start, 24))


def parse(line):
    user, time = line.split()
    return {"user": user, "time": float(time), "ok": time != "40"}


def test_the_example_of_the_design_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Count = sage.Count  # noqa: N806
    at = lambda line: float(line.split()[1])  # noqa: E731

    env = sage.LocalEnvironment("clicks", checkpoint=sage.Checkpointing("ckpt/", every=10))
    (
        env.from_source(Clicks(), watermark=sage.bounded_out_of_orderness(5, at))
        .map(parse, parallelism=4, resources={"num_cpus": 1, "num_gpus": 0.5}, retry=sage.Retry(3, backoff=1.0))
        .filter(lambda r: r["ok"])
        .key_by("user")
        .window(sage.sliding(60, 10), allowed_lateness=5)
        .aggregate(Count())
        .sink(sage.JsonlSink("out/"))
    )
    job = env.submit()
    assert job.wait(60) == "finished"
    assert job.status == "finished"
    assert job.unbalanced() == []
    import json

    rows = [json.loads(line) for path in Path("out").iterdir() for line in path.read_text().splitlines()]
    last = {(row["key"], row["start"]): row["value"] for row in rows}
    times = {user: [5 * n for n in range(24) if (n % 3 > 0) == (user == "ann") and n != 8] for user in ("ann", "bob")}
    for user, clicked in times.items():
        for start in range(-50, 120, 10):
            count = sum(start <= time < start + 60 for time in clicked)
            assert last.get((user, start), 0) == count


def test_a_job_can_be_awaited():
    async def wait():
        env, rows = sage.LocalEnvironment("awaited"), []
        env.from_collection([1, 2]).sink(sage.CollectSink(rows))
        return await env.submit(), rows

    assert asyncio.run(wait()) == ("finished", [1, 2])


@pytest.mark.parametrize("name", STREAMS)
def test_every_name_of_the_streams_has_an_example_that_runs(name):
    if name not in ("Alarm", "IDLE"):
        assert ">>>" in getattr(sage, name).__doc__, name


def test_the_streams_load_no_heavy_library():
    names = [name for name in STREAMS if "ray" not in sage._HOME[name]]  # who asks for Ray gets it
    look = f"[getattr(sage_nb, name) for name in {names!r}]; print([n for n in {HEAVY!r} if n in sys.modules])"
    code = f"import sage_nb, sys; {look}"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


WITH_MODELS = """
import sage_nb as sage

@sage.encoder("letters")
class Letters:
    name, dimension, fingerprint, truncated = "letters", 1, "1", 0

class Embed(sage.MapFunction):
    def open(self, context):
        self.name = context.get(sage.Models).encoder("letters").name

    def map(self, value):
        return self.name

env, rows = sage.LocalEnvironment(), []
env.from_collection([1]).map(Embed).sink(sage.CollectSink(rows))
env.submit().wait(60)
print(rows)
"""


def test_a_function_of_ones_own_finds_the_models_of_its_process():
    """In a process that has used nothing else of the package."""
    done = subprocess.run([sys.executable, "-c", WITH_MODELS], check=False, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("['letters']\n", "")


def branching():
    env = sage.LocalEnvironment("pages <1>")
    pages = env.from_collection(["a"], name="pages & more")
    sized = pages.map(len, name="size", parallelism=2, uid="size")
    sized.key_by(abs).map(abs, name="kept").sink(sage.CollectSink([]), name="kept sink")
    pages.key_by("user").window(sage.tumbling(5)).aggregate(sage.Count(), name="<b>per user</b>").late.for_each(abs)
    sized.iterate(lambda body: body.map(abs, name="body"), until=bool, name="round").for_each(abs)
    return env


def test_streams_and_graphs_are_short_to_read():
    env = branching()
    stream = env.from_collection([1]).map(abs, name="size")
    assert repr(stream) == "<Stream 'size'>"
    assert repr(stream.key_by("user")) == "<Stream 'size' by user>"
    assert repr(stream.side("dead")) == "<Stream 'size'.dead>"
    assert all(len(repr(node)) < 200 for _, node in env.graph().nodes)


def test_a_graph_is_drawn_as_text():
    assert str(branching().graph()).splitlines() == [
        "pages <1>",
        "  pages & more: source",
        "  size: map x2 ← pages & more",
        "  kept: map ← size (by key)",
        "  kept sink: sink ← kept",
        "  <b>per user</b>: window ← pages & more (by user)",
        "  CallSink: sink ← <b>per user</b> (late)",
        "  round: head ← size, round-2 (again)",
        "  body: map ← round",
        "  round-2: tail ← body",
        "  CallSink-2: sink ← round-2",
    ]


def test_a_graph_is_drawn_as_a_picture_in_which_nothing_can_run():
    picture = branching().graph()._repr_html_()
    assert picture.count("<rect") == 10
    assert "&lt;b&gt;per user&lt;/b&gt;" in picture
    assert "<b>" not in picture
    assert "by user" in picture
    assert "<script" not in picture
    import xml.etree.ElementTree as ET

    svg = picture[picture.index("<svg") : picture.index("</svg>") + 6]
    ET.fromstring(svg)


def test_the_graph_shown_is_without_the_dead_letters_of_the_house_and_the_one_that_runs_has_them():
    env = branching()
    job = env.submit()
    job.cancel()
    assert "dead-letters" not in str(env.graph())
    assert "dead-letters" in str(job.plan.graph)


def test_settings_carry_over_to_an_environment_anew():
    env = sage.LocalEnvironment("one", parallelism=3)
    env.from_collection([1]).sink(sage.CollectSink([]))
    other = env.anew()
    rows: list = []
    other.from_collection([2]).sink(sage.CollectSink(rows))
    finished(other)
    assert (other.parallelism, rows) == (3, [2])
    assert len(env.graph().nodes) == 2
