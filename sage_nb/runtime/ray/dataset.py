"""Ray Data at the borders: a dataset as a source, and a stream's records as a dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import ray

from sage_nb.errors import BadValueError, MissingExtraError
from sage_nb.stream.encode import parquet_table
from sage_nb.stream.source import SourceFunction

BLOCK = 50_000  # records of a block
SLICE = 1_000  # rows of a block that are made records at once


class DatasetSource(SourceFunction[dict[str, Any]]):
    """The rows of a Ray dataset, as dicts, in its order.

    It is computed once, now, into the cluster's object store, so that every reading gives the same rows. A job that
    goes on in another process computes it again, and must then be given a dataset of the same rows in the same order.
    """

    def __init__(self, dataset: Any) -> None:
        data = _ray_data("from_ray_dataset()")
        if not isinstance(dataset, data.Dataset):
            raise BadValueError(f"from_ray_dataset() takes a ray.data.Dataset, got {dataset!r:.60}")
        options = dataset.context.execution_options
        before, options.preserve_order = options.preserve_order, True
        try:
            self._blocks = dataset.to_arrow_refs()
        finally:
            options.preserve_order = before

    def __deepcopy__(self, memo: dict[int, Any]) -> DatasetSource:
        return self  # it only reads

    @property
    def at_home(self) -> bool:
        """Here are the references that keep the blocks."""
        return True

    def read(self, split: str, start: int, /) -> Iterator[dict[str, Any]]:  # noqa: ARG002
        """Row by row; whole blocks are passed over at no cost."""
        for reference in self._blocks:
            block = ray.get(reference)
            for at in range(start, block.num_rows, SLICE):
                yield from block.slice(at, SLICE).to_pylist()
            start = max(0, start - block.num_rows)


def dataset_of(records: Sequence[object]) -> Any:
    """Records, which are mappings, as a dataset: their fields are the columns.

    Raises BadValueError where they are no mappings, or of no common shape.
    """
    data = _ray_data("to_ray_dataset()")
    blocks = [parquet_table(records[at : at + BLOCK]) for at in range(0, len(records), BLOCK)]
    return data.from_arrow(blocks) if blocks else data.from_items([])


def _ray_data(feature: str) -> Any:
    try:
        import pandas  # noqa: F401  ray.data names only the first that it lacks
        import pyarrow  # noqa: F401
        from ray import data
    except ImportError as error:
        raise MissingExtraError.of(feature, error.name or "ray.data", "ray-data") from error
    return data
