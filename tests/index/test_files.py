"""Checksums are zlib's own however a file is read; a column is not copied without need."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_nb.index import files
from sage_nb.index.files import SortedStrings, Texts, checksum, in_one


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


TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), unique=True)


@given(TEXTS, st.text(max_size=4))
def test_a_sorted_column_finds_what_is_in_it_and_nothing_else(texts, other):
    import pyarrow as pa

    column = sorted(texts)
    found = SortedStrings(pa.chunked_array([column[:2], column[2:]], pa.large_string()))
    assert [found.find(text) for text in column] == list(range(len(column)))
    assert found.find(other) == (column.index(other) if other in column else -1)
    assert found.find("\ud800") == -1


@given(st.lists(st.binary(max_size=5)), st.integers(0, 3))
def test_texts_are_read_as_arrow_reads_them(values, first):
    import pyarrow as pa

    column = pa.chunked_array([values], pa.large_binary()).slice(first)
    texts = Texts(column)
    assert [texts.raw(row) for row in range(len(texts))] == column.to_pylist()


def test_a_column_of_one_chunk_stays_where_it_lies():
    import pyarrow as pa

    column = pa.chunked_array([["ant", "bee"]])
    assert in_one(column).buffers()[2].address == column.chunk(0).buffers()[2].address
    assert in_one(pa.chunked_array([], pa.string())).to_pylist() == []
