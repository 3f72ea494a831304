"""Records as file sinks write them: a line of JSON, a Parquet table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from sage_nb.errors import BadValueError


def json_line(value: object) -> bytes:
    """`value` as a line of JSON.

    Raises BadValueError where JSON has no word for it.
    """
    try:
        return json.dumps(msgspec.to_builtins(value), ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise BadValueError(
            f"JSON has no word for {value!r:.60}: {error}; map it to plain data before the sink"
        ) from error


def parquet_table(values: Sequence[object]) -> Any:
    """Mappings as a table with a column for every field that any of them has.

    Raises BadValueError where they are no mappings, or a column would hold what it cannot.
    """
    import pyarrow as pa

    rows = [msgspec.to_builtins(value) for value in values]
    for row in rows:
        if not isinstance(row, dict):
            raise BadValueError(f"a table takes mappings, whose fields are columns; got {row!r:.60}")
    names = dict.fromkeys(name for row in rows for name in row)
    try:
        return pa.table({str(name): [row.get(name) for row in rows] for name in names})
    except (pa.ArrowException, OverflowError) as error:
        raise BadValueError(
            f"Parquet has no columns for {rows[0]!r:.60}: {error}; map it to plain data of one shape before the sink"
        ) from error


def fitting(schema: Any, new: Any) -> Any:
    """The schema of a Parquet file that holds rows of both; `schema` is None where there are none yet.

    Raises BadValueError where there is no such file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if schema is not None and schema.equals(new):
        return schema
    try:
        both = new if schema is None else pa.unify_schemas([schema, new], promote_options="permissive")
        pq.write_table(both.empty_table(), pa.BufferOutputStream())
    except pa.ArrowException as error:
        held = "" if schema is None else f" beside those with {schema.to_string()!r:.60}"
        raise BadValueError(
            f"Parquet cannot hold rows with {new.to_string()!r:.60}{held}: {error}; map them to one shape"
        ) from error
    return both
