"""Ray Data at the borders: rows in their order, again after a failure, and records as a dataset."""

from __future__ import annotations

import sys

import pytest

from sage_nb.errors import BadValueError, MissingExtraError
from sage_nb.runtime.ray.dataset import DatasetSource
from sage_nb.runtime.ray.environment import RayEnvironment
from sage_nb.runtime.restart import FixedDelay
from sage_nb.stream.sink import CollectSink
from tests.runtime.jobs import Once

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def numbers(cluster):
    """10 rows in 3 blocks."""
    import pyarrow as pa
    from ray import data

    return data.from_arrow([pa.table({"n": list(part)}) for part in (range(4), range(4, 8), range(8, 10))])


@pytest.mark.parametrize("start", [0, 3, 4, 7, 9, 10])
def test_rows_are_read_in_order_from_any_place(numbers, start):
    assert list(DatasetSource(numbers).read("0", start)) == [{"n": n} for n in range(start, 10)]


def test_rows_go_through_a_stream_and_come_out_as_a_dataset(numbers):
    env = RayEnvironment("rows")
    ignored: list = []
    stream = env.from_ray_dataset(numbers).map(lambda row: {**row, "square": row["n"] ** 2})
    stream.sink(CollectSink(ignored))
    dataset = env.to_ray_dataset(stream)
    assert dataset.take_all() == [{"n": n, "square": n * n} for n in range(10)]
    assert ignored == []
    assert len(env.ends.nodes) == 1


def test_rows_are_read_again_after_a_failure(numbers):
    env = RayEnvironment("rows", restart=FixedDelay(3, 0.0))
    once = Once(lambda row: row["n"] == 5)
    dataset = env.to_ray_dataset(env.from_ray_dataset(numbers).map(once, on_error="fail"))
    assert [row["n"] for row in dataset.take_all()] == list(range(10))


def test_a_stream_without_records_is_an_empty_dataset(numbers):
    env = RayEnvironment("none")
    assert env.to_ray_dataset(env.from_ray_dataset(numbers).filter(lambda row: row["n"] > 99)).count() == 0


def test_records_that_are_no_rows_are_refused():
    env = RayEnvironment("bare")
    with pytest.raises(BadValueError, match=r"takes mappings, whose fields are columns; got 1"):
        env.to_ray_dataset(env.from_collection([1]))


def test_only_a_dataset_is_read_as_one():
    with pytest.raises(BadValueError, match=r"takes a ray.data.Dataset, got \[1, 2\]"):
        RayEnvironment("bare").from_ray_dataset([1, 2])


def test_without_ray_data_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"from_ray_dataset\(\) needs 'pandas'; run: pip install 'sage-nb"):
        RayEnvironment("bare").from_ray_dataset([1])
