import datetime
import decimal
import os

import pytest

from sage_nb.errors import BadValueError
from sage_nb.records.rows import document, numbered, parsed, scalars, write_lines


@pytest.mark.parametrize("name", ["a.jsonl", "deep/a.jsonl.gz"])
def test_lines_come_back_numbered_and_blank_ones_are_passed_over(tmp_path, name):
    path = tmp_path / name
    write_lines(path, [b"\xef\xbb\xbfone", b"", b"  ", b"two "])
    assert list(numbered(path)) == [(1, b"one"), (4, b"two")]


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_lines(pipe, [b"a", b"b"])
    assert os.read(reading, 10) == b"a\nb\n"
    os.close(reading)
    assert pipe.is_fifo()


def test_a_link_is_followed(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_lines(tmp_path / "link", [b"a"])
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"a\n"


def test_a_folder_is_not_written(tmp_path):
    with pytest.raises(BadValueError, match="could not be written .Is a directory.; name another place"):
        write_lines(tmp_path, [b"a"])


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.jsonl"
    write_lines(path, [b"old"])
    with pytest.raises(ZeroDivisionError, match="division"):
        write_lines(path, (b"%d" % (1 // n) for n in (1, 0)))
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("a.jsonl", b"old\n")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "broken JSON: Input data was truncated"),
        (b"5", "not a JSON object: b'5'"),
        (b"[" * 9999, "broken"),
    ],
)
def test_a_line_that_is_no_object_is_refused(line, said):
    with pytest.raises(BadValueError, match=said):
        parsed(line)


def test_meta_is_plain_data():
    row = {
        "nan": float("nan"),
        "at": datetime.datetime(2020, 5, 1, 12, 30),
        "price": decimal.Decimal("1.50"),
        "raw": b"bytes",
        "nested": {"a": 1},
        "flag": False,
    }
    assert scalars(row) == {"nan": None, "at": "2020-05-01T12:30:00", "price": 1.5, "flag": False}


def test_a_row_without_text_is_refused_with_the_fields_it_has():
    with pytest.raises(BadValueError, match=r"no field 'text' \(fields: id, body\)"):
        document({"id": 1, "body": "x"}, "name")
    with pytest.raises(BadValueError, match=r"no field 'text' \(fields: none\)"):
        document({}, "name")
