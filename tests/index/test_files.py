"""Checksums are zlib's own however a file is read; a column is not copied without need."""

from __future__ import annotations

import zlib

import pytest

from sage_nb.index import files
from sage_nb.index.files import checksum, in_one


@pytest.mark.parametrize("size", [0, 1, files.BLOCK - 1, files.BLOCK, 2 * files.BLOCK + 3])
def test_a_file_is_summed_whole(tmp_path, size):
    content = bytes(n % 251 for n in range(size))
    (tmp_path / "file").write_bytes(content)
    assert checksum(tmp_path / "file") == zlib.crc32(content)


def test_of_a_very_large_one_both_ends_are_summed(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "WHOLE", 100)
    monkeypatch.setattr(files, "EDGE", 8)
    (tmp_path / "file").write_bytes(b"headhead" + bytes(100) + b"tailtail")
    assert checksum(tmp_path / "file") == zlib.crc32(b"headheadtailtail")
    (tmp_path / "file").write_bytes(b"headhead" + bytes(99) + b"xtailtai!")
    assert checksum(tmp_path / "file") != zlib.crc32(b"headheadtailtail")


def test_a_column_of_one_chunk_stays_where_it_lies():
    import pyarrow as pa

    column = pa.chunked_array([["ant", "bee"]])
    assert in_one(column).buffers()[2].address == column.chunk(0).buffers()[2].address
    assert in_one(pa.chunked_array([], pa.string())).to_pylist() == []
