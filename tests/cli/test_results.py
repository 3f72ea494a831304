"""RESULTS.md: the newest figures in their places, and nothing that tells where or when they were measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sage_nb.cli.bench import save
from sage_nb.cli.bench_stream import Figure, report
from sage_nb.models.machine import describe_cpu
from tests.benchmarks import results
from tests.benchmarks.results import commands, main, newest, page, run

ROWS = [{"collection": "pydocs", "nDCG@10": "0.5000"}]


@pytest.fixture
def written(tmp_path, capsys):
    """A bench of figures and one of rows, as they write them."""
    fast = Figure("fast | slow", "times", 3.0, True, [4.0, 5.0, 6.0])
    report("limit", str(tmp_path), [fast, Figure("seen", "GB/s", None, True, [7.0])], repeats=3, folder="/home/me/x")
    save("quality", str(tmp_path), rows=ROWS)
    capsys.readouterr()
    return tmp_path


def test_tables_stand_where_the_template_has_their_names(written):
    made = page("# A\n\n{{machine}}\n\n{{bench limit}}\n\n{{bench quality}}\n\n{{bench ray}}\nby hand\n", written)
    assert "| fast \\| slow | times | 5 | 4 .. 6 | >= 3 | yes |" in made
    assert "| seen | GB/s | 7 | 7 .. 7 |  |  |" in made
    assert "| collection | nDCG@10 |\n| --- | --- |\n| pydocs | 0.5000 |" in made
    assert "repeats 3." in made
    assert "\n\nNot run.\nby hand\n" in made
    assert f"| CPU | {describe_cpu()['CPU']} |" in made
    assert "| torch | " in made


def test_paths_dates_and_hosts_stay_out(written):
    made = page("{{machine}}\n{{bench limit}}\n{{bench quality}}\n", written)
    day = next(written.glob("limit-*.json")).name[6:14]
    for word in ("/home/me", day, str(written)):
        assert word not in made


def test_the_newest_counts_and_another_machine_is_named(tmp_path):
    for time, cores in (("20260101T000000", "2"), ("20260102T000000", "4")):
        for kind in ("limit", "stream")[: 2 if cores == "2" else 1]:
            seen = {"machine": {"cores": cores}, "libraries": {}, "rows": ROWS, "repeats": int(cores)}
            (tmp_path / f"{kind}-{time}.json").write_text(json.dumps(seen))
    assert newest(tmp_path, "limit")["repeats"] == 4
    assert newest(tmp_path, "ray") is None
    made = page("{{bench limit}}\n{{bench stream}}\n", tmp_path)
    assert made.count("On another machine or with other libraries: cores 2.") == 1


def test_what_has_no_data_is_left_out_and_what_has_no_peers_runs_alone(tmp_path):
    python = tmp_path / "python"
    assert not {"index", "query"} & set(commands(tmp_path, python))
    assert commands(None, python)["lexical"] == []
    for name in ("vaswani", "medquad"):
        (tmp_path / name).mkdir()
    python.touch()
    given = commands(tmp_path, python)
    assert set(given) == set(results.RUNS)
    folders = [str(tmp_path / "vaswani"), str(tmp_path / "medquad")]
    assert given["index"] == [*folders, "--peers", str(python)]
    assert given["limit"] == []


def test_a_bench_runs_in_a_process_of_its_own_and_a_failure_is_told(tmp_path):
    assert run({"stream": ["--repeats", "1", "--scale", "0.001"], "limit": ["--scale", "0"]}, tmp_path) == ["limit"]
    assert newest(tmp_path, "stream")["scale"] == 0.001


def test_the_template_has_a_place_for_every_bench_that_is_run(tmp_path):
    assert main(["--out", str(tmp_path / "none"), "--into", str(tmp_path / "page.md")]) == 0
    made = (tmp_path / "page.md").read_text()
    assert made.count("Not run.") == len(results.RUNS)
    assert "Nothing has been run." in made
    assert "What was tried" in made


def test_a_cpu_is_described_by_what_the_system_tells(tmp_path):
    told = tmp_path / "cpuinfo"
    told.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu avx2 amx_bf16 avx512f\n")
    assert describe_cpu(told)["CPU"] == "Some CPU @ 2 GHz"
    assert describe_cpu(told)["CPU features"] == "avx2, avx512f, amx_bf16"
    assert describe_cpu(Path("/nowhere"))["CPU features"] == "not told"
