"""Sinks under crashes: what each kind promises, and that none touches what is not its own."""

from __future__ import annotations

import json
import uuid

import fsspec
import pytest

from sage_nb.errors import BadValueError
from sage_nb.runtime.checkpoint import Checkpointing
from sage_nb.runtime.context import LocalContext
from sage_nb.runtime.environment import LocalEnvironment
from sage_nb.runtime.restart import FixedDelay
from sage_nb.stream.sink import CollectSink, IdempotentSink, JsonlSink, ParquetSink, SinkFunction
from sage_nb.stream.storage import Folder
from tests.runtime.jobs import CrashAt, Halting, Once, Paced, clicks, finished, lines, until

POINTS = ["before write", "before manifest", "after manifest", "notify", "restore", "end", "close"]


def environment(tmp_path, name="job", **settings):
    checkpoint = Checkpointing(str(tmp_path / name), every=0.005)
    return LocalEnvironment(name, **{"checkpoint": checkpoint, "restart": FixedDelay(9, 0.0), **settings})


def crashed(env, sink, probe=None, **options):
    """A job of 200 records that fails once: where the probe says, or at a record."""
    env.probe = probe or env.probe
    source = Paced(clicks(200), hold=getattr(probe, "hold", None))
    stream = env.from_source(source).map(Once(lambda r: probe is None and r["n"] == 60), on_error="fail")
    stream.map(lambda r: {"n": r["n"]}).sink(sink, **options)
    job = finished(env)
    assert job.restarts == (probe is None or probe.point != "close")  # by then all is committed
    return job


def visible(folder):
    return [name for name in Folder(folder).names() if not name.startswith(".")]


def numbers(folder):
    """The numbers in a folder of JSON lines, sorted."""
    return sorted(row["n"] for row in lines(folder))


def rows_of(folder):
    """The rows of a folder of Parquet files, in the order of the files' names."""
    from pyarrow.parquet import read_table

    return [row for name in visible(folder) for row in read_table(f"{folder}/{name}").to_pylist()]


def table_numbers(folder):
    return sorted(row["n"] for row in rows_of(folder))


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("parallelism", [1, 3])
def test_jsonl_files_hold_every_record_once_whatever_fails(tmp_path, point, parallelism):
    out = str(tmp_path / "out")
    crashed(environment(tmp_path), JsonlSink(out), CrashAt(point=point, nth=2), parallelism=parallelism)
    assert numbers(out) == list(range(200))
    assert visible(out) == Folder(out).names()  # nothing pending is left


@pytest.mark.parametrize("point", POINTS)
def test_parquet_files_hold_every_record_once_whatever_fails(tmp_path, point):
    out = str(tmp_path / "out")
    crashed(environment(tmp_path), ParquetSink(out), CrashAt(point=point, nth=2), parallelism=2)
    assert table_numbers(out) == list(range(200))


@pytest.mark.parametrize("point", POINTS)
def test_a_list_holds_every_record_once_whatever_fails(tmp_path, point):
    rows: list = []
    crashed(environment(tmp_path), CollectSink(rows), CrashAt(point=point, nth=2), parallelism=2)
    assert sorted(row["n"] for row in rows) == list(range(200))


class Table(IdempotentSink):
    """Rows under their number, in a mapping that all copies share; and how often one was written."""

    def __init__(self, rows, writes):
        self.rows, self.writes = rows, writes

    def __deepcopy__(self, memo):
        return self

    def write(self, value):
        self.rows[value["n"]] = value
        self.writes.append(value["n"])


@pytest.mark.parametrize("point", POINTS)
def test_an_idempotent_sink_ends_with_every_record_once(tmp_path, point):
    rows, writes = {}, []
    crashed(environment(tmp_path), Table(rows, writes), CrashAt(point=point, nth=2))
    assert rows == {n: {"n": n} for n in range(200)}


class Log(SinkFunction):
    """A plain sink: writes at once."""

    def __init__(self, rows):
        self.rows = rows

    def __deepcopy__(self, memo):
        return self

    def write(self, value):
        if value is None:
            raise ValueError("nothing to write")
        self.rows.append(value["n"])


def test_a_plain_sink_has_every_record_at_least_once_and_those_since_the_checkpoint_again(tmp_path):
    rows: list = []
    env = environment(tmp_path, checkpoint=Checkpointing(str(tmp_path / "job"), every=60.0))
    crashed(env, Log(rows))
    assert set(rows) == set(range(200))
    assert rows[:10] == rows[rows.index(0, 1) :][:10]  # no checkpoint was taken: all came again
    assert Log.delivery == "at least once"


def test_a_plain_sink_that_fails_on_a_record_does_not_get_its_neighbours_again():
    env = LocalEnvironment()
    rows: list = []
    values = [{"n": n} for n in range(300)]
    env.from_collection([*values[:150], None, *values[150:]]).sink(Log(rows))
    job = finished(env)
    assert rows == list(range(300))
    assert [letter.record for letter in job.dead_letters] == [None]


def test_a_value_json_has_no_word_for_goes_to_the_dead_letters_alone(tmp_path):
    env = LocalEnvironment()
    values = [{"n": n} for n in range(20)]
    env.from_collection([*values[:9], {"n": float("nan")}, {"n": object}, *values[9:]]).sink(JsonlSink(f"{tmp_path}/o"))
    job = finished(env)
    assert numbers(f"{tmp_path}/o") == list(range(20))
    assert [letter.error.split(":")[0] for letter in job.dead_letters] == ["BadValueError"] * 2
    assert "JSON has no word for {'n': nan}" in job.dead_letters[0].error


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ({"n": "two"}, "Parquet cannot hold rows with 'n: string' beside those with 'n: int64'"),
        ({"n": 2**70}, "Parquet has no columns for"),
        ({"n": 1, "empty": {}}, "Parquet cannot hold rows with"),
        (7, "a table takes mappings, whose fields are columns; got 7"),
    ],
)
def test_a_row_parquet_cannot_hold_goes_to_the_dead_letters_alone(tmp_path, bad, sentence):
    env = LocalEnvironment()
    env.from_collection([{"n": 1}, {"n": 2}, bad, {"n": 3}]).sink(ParquetSink(f"{tmp_path}/o"))
    job = finished(env)
    assert table_numbers(f"{tmp_path}/o") == [1, 2, 3]
    [letter] = job.dead_letters
    assert sentence in letter.error


def test_parquet_keeps_fields_that_only_some_rows_have(tmp_path):
    sink = ParquetSink(f"{tmp_path}/o")
    sink.open(LocalContext())
    sink.write_batch([{"n": 1}, {"n": 2, "late": "x"}])
    sink.write_batch([{"n": None}, {"n": 2.5}])
    sink.commit(sink.prepare(1))
    assert rows_of(f"{tmp_path}/o") == [
        {"n": 1.0, "late": None},
        {"n": 2.0, "late": "x"},
        {"n": None, "late": None},
        {"n": 2.5, "late": None},
    ]


@pytest.mark.parametrize("kind", [JsonlSink, ParquetSink])
def test_committing_twice_is_committing_once(tmp_path, kind):
    sink = kind(f"{tmp_path}/o")
    sink.open(LocalContext())
    sink.write_batch([{"n": 1}])
    handle = sink.prepare(7)
    assert visible(f"{tmp_path}/o") == []
    for _ in range(2):
        sink.commit(handle)
    assert Folder(f"{tmp_path}/o").names() == [handle[1]]
    assert handle[1].startswith("function-job-0-000007-")


def test_a_committed_file_that_is_gone_is_said(tmp_path):
    sink = JsonlSink(f"{tmp_path}/o")
    sink.open(LocalContext())
    sink.write_batch([1])
    handle = sink.prepare(7)
    sink.folder.remove(handle[0])
    with pytest.raises(
        BadValueError, match=r"which a checkpoint counts on, is gone from .* start over with fresh=True"
    ):
        sink.commit(handle)


def test_a_sink_on_a_url_in_memory(tmp_path):
    url = f"memory://{uuid.uuid4().hex}"
    crashed(environment(tmp_path), JsonlSink(url), CrashAt(point="notify", nth=2))
    assert sorted(row["n"] for row in lines(url)) == list(range(200))
    fsspec.filesystem("memory").rm(url, recursive=True)


@pytest.mark.parametrize("name", ["a-b-1", "a/b", "../x", "Ünï/çø?", "count-0"])
def test_an_operator_may_have_any_name(tmp_path, name):
    out = str(tmp_path / "out")
    crashed(environment(tmp_path), JsonlSink(out), CrashAt(point="notify", nth=2), name=name)
    assert numbers(out) == list(range(200))
    assert visible(out) == Folder(out).names()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job", "out"]


def test_two_sinks_of_one_name_share_a_folder(tmp_path):
    out = str(tmp_path / "out")
    env = environment(tmp_path, parallelism=2)
    env.probe = CrashAt(point="notify", nth=3)
    stream = env.from_source(Paced(clicks(200)))
    for sign in (1, -1):
        stream.map(lambda r, sign=sign: {"n": sign * r["n"]}).sink(JsonlSink(out), name="same")
    assert finished(env).restarts == 1
    assert numbers(out) == sorted([*range(200), *(-n for n in range(200))])


def test_two_jobs_share_a_folder_and_neither_touches_the_others_files(tmp_path):
    out = str(tmp_path / "out")
    held = Halting(clicks(50), at=20)
    slow = environment(tmp_path, "slow")
    slow.from_source(held).sink(JsonlSink(out), name="sink")
    job = slow.submit()
    until(lambda: job.metrics().total("sink", "received") == 20 and len(job.metrics().checkpoints) > 1)
    strangers = {"sink-0.jsonl": b"{}\n", ".sink-ffffffff-0-0-ab.pending": b"x", "notes.txt": b"n"}
    for name, data in strangers.items():
        Folder(out).put(name, data)
    crashed(environment(tmp_path, "quick"), JsonlSink(out), CrashAt(point="notify", nth=2))
    held.go.set()
    assert job.wait(60) == "finished"
    assert {name: Folder(out).get(name) for name in strangers} == strangers
    Folder(out).remove("sink-0.jsonl")
    assert numbers(out) == sorted([*range(200), *range(50)])


@pytest.mark.parametrize("then", [1, 2, 5])
def test_what_a_paused_job_prepared_is_committed_at_any_parallelism(tmp_path, then):
    """The job stops between the manifest and the commit; whoever goes on finds what all three subtasks left."""
    out, held = str(tmp_path / "out"), Halting(clicks(100), at=60)
    env = environment(tmp_path, parallelism=3, restart=None)
    env.restart, env.probe = FixedDelay(1, 3600.0), CrashAt(point="after manifest", nth=4)
    env.from_source(held).key_by("n").map(lambda r: r).sink(JsonlSink(out), name="sink")
    job = env.submit()
    until(lambda: job.status == "restarting")
    job.pause()
    assert job.status == "paused"
    held.go.set()
    again = environment(tmp_path, parallelism=then)
    again.from_source(held).key_by("n").map(lambda r: r).sink(JsonlSink(out), name="sink")
    finished(again)
    assert numbers(out) == list(range(100))
    assert visible(out) == Folder(out).names()


def test_pausing_shows_everything_up_to_the_pause(tmp_path):
    out, held = str(tmp_path / "out"), Halting(clicks(100), at=60)
    env = environment(tmp_path, parallelism=2, checkpoint=Checkpointing(str(tmp_path / "job"), every=60.0))
    env.from_source(held).key_by("n").map(lambda r: r).sink(JsonlSink(out), name="sink")
    job = env.submit()
    until(lambda: job.metrics().total("sink", "received") == 60)
    job.pause()
    assert job.status == "paused"
    assert numbers(out) == list(range(60))


def test_cancelling_shows_nothing_that_was_not_committed(tmp_path):
    out, held = str(tmp_path / "out"), Halting(clicks(100), at=60)
    env = environment(tmp_path, checkpoint=Checkpointing(str(tmp_path / "job"), every=60.0))
    env.from_source(held).sink(JsonlSink(out), name="sink")
    job = env.submit()
    until(lambda: job.metrics().total("sink", "received") == 60)
    job.cancel()
    assert job.status == "cancelled"
    assert visible(out) == []
    held.go.set()
    finished(env)
    assert numbers(out) == list(range(100))


def test_a_job_submitted_again_after_its_end_doubles_nothing_and_fresh_starts_over(tmp_path):
    out = str(tmp_path / "out")
    env = environment(tmp_path, parallelism=2)
    env.from_source(Paced(clicks(100))).map(lambda r: {"n": r["n"]}).sink(JsonlSink(out))
    finished(env)
    shown = visible(out)
    finished(env)
    assert visible(out) == shown
    finished(env, fresh=True)
    assert numbers(out) == list(range(100))
    undone = [name for name in Folder(out).names() if name.endswith(".undone")]
    assert undone == sorted(f".{name}.undone" for name in shown)


def test_a_job_without_a_checkpoint_folder_adds_to_what_is_there(tmp_path):
    out = str(tmp_path / "out")
    for _ in range(2):
        env = LocalEnvironment()
        env.from_collection([{"n": 1}, {"n": 2}]).sink(JsonlSink(out))
        finished(env)
    assert numbers(out) == [1, 1, 2, 2]


def test_a_line_is_json_on_its_own(tmp_path):
    env = LocalEnvironment()
    env.from_collection(["a\nb", None, {"é": [1.5, True]}]).sink(JsonlSink(f"{tmp_path}/o"))
    finished(env)
    [name] = visible(f"{tmp_path}/o")
    raw = Folder(f"{tmp_path}/o").get(name).decode()
    assert [json.loads(line) for line in raw.splitlines()] == ["a\nb", None, {"é": [1.5, True]}]
