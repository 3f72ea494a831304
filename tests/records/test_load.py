import gzip
import re
import sys
import warnings
from datetime import date
from pathlib import Path

import pytest

from sage_nb.errors import BadValueError, MissingExtraError, UnknownNameError
from sage_nb.records.load import Loaded, Skipped, load
from sage_nb.records.values import Document


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, content: str | bytes) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def pdf(*pages: str, title: str = "") -> bytes:
    """A PDF written by hand: a catalog, a page tree, a font, and one content stream for each page."""
    count = len(pages)
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(count))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for n, page in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 720 Td ({page}) Tj ET"
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] "
            f"/Resources << /Font << /F1 3 0 R >> >> /Contents {5 + 2 * n} 0 R >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    objects.append(f"<< /Title ({title}) >>")
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    rows = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    return (
        out
        + (
            f"xref\n0 {size}\n0000000000 65535 f \n{rows}"
            f"trailer\n<< /Size {size} /Root 1 0 R /Info {size - 1} 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
        ).encode()
    )


def skipping(loaded: Loaded) -> list[Document]:
    with pytest.warns(UserWarning, match="skipped"):
        return list(loaded)


# which files


def test_a_glob_finds_files_at_any_depth_in_order():
    write("docs/b.md", "# B")
    write("docs/deep/er/a.md", "# A")
    write("docs/c.txt", "not asked for")
    assert [document.id for document in load("docs/**/*.md")] == ["docs/b.md", "docs/deep/er/a.md"]


def test_an_absolute_glob_works_as_well(here):
    write("docs/b.md", "# B")
    assert [document.id for document in load(f"{here}/docs/*.md")] == [f"{here.as_posix()}/docs/b.md"]


def test_a_folder_gives_its_files_of_known_types_but_no_hidden_ones():
    write("docs/a.md", "# A")
    write("docs/picture.png", b"\x89PNG")
    write("docs/.ipynb_checkpoints/a.md", "# old")
    assert [document.id for document in load(Path("docs"))] == ["docs/a.md"]


def test_a_file_that_two_paths_name_is_read_once():
    write("docs/a.md", "# A")
    write("docs/b.md", "# B")
    assert [document.id for document in load(["docs/b.md", "docs/*.md"])] == ["docs/b.md", "docs/a.md"]


def test_a_file_whose_name_looks_like_a_glob_is_taken_as_it_is():
    write("notes[1].md", "# One")
    assert [document.title for document in load("notes[1].md")] == ["One"]


@pytest.mark.parametrize("path", ["nope.md", "docs/**/*.md", ""])
def test_a_path_that_matches_nothing_is_refused_by_name(path, here):
    said = f"{path!r} matches no file in {here}; check the path"
    with pytest.raises(BadValueError, match=f"^{re.escape(said)}$"):
        load(path)


def test_a_folder_without_a_known_file_is_refused(here):
    write("docs/picture.png", b"\x89PNG")
    with pytest.raises(BadValueError, match="'docs' matches no file"):
        load("docs")


def test_no_path_at_all_is_refused():
    with pytest.raises(BadValueError, match=r"load\(\[\]\) names no file"):
        load([])


def test_an_unknown_type_is_refused_with_the_nearest_known():
    write("a.mdd", "x")
    with pytest.raises(UnknownNameError, match=r"unknown file type of a.mdd: '.mdd'; did you mean '.md'\?"):
        load("a.mdd")


def test_an_unknown_type_among_a_globs_files_is_reported():
    write("docs/a.md", "# A")
    write("docs/b.png", b"\x89PNG")
    loaded = load("docs/*")
    assert [document.id for document in skipping(loaded)] == ["docs/a.md"]
    assert [skipped.path for skipped in loaded.skipped] == ["docs/b.png"]
    assert "unknown file type" in loaded.skipped[0].reason


# passes


def test_nothing_is_read_before_it_is_asked_for():
    path = write("a.md", "# Before")
    loaded = load("a.md")
    path.write_text("# After")
    assert next(iter(loaded)).title == "After"


def test_each_pass_gives_all_documents_and_reports_anew():
    write("a.md", "# A")
    write("b.txt", " ")
    loaded = load(["b.txt", "a.md"])
    for _ in range(2):
        assert [document.id for document in skipping(loaded)] == ["a.md"]
        assert loaded.skipped == [Skipped("b.txt", "the file has no text")]


def test_two_passes_at_a_time_do_not_mix_their_reports():
    write("a.txt", " ")
    write("b.txt", "text")
    loaded = load(["a.txt", "b.txt"])
    with pytest.warns(UserWarning, match="skipped a.txt"):
        pairs = list(zip(loaded, loaded, strict=True))
    assert [(one.id, other.id) for one, other in pairs] == [("b.txt", "b.txt")]
    assert len(loaded.skipped) == 1


def test_a_bad_file_does_not_stop_the_others_and_is_warned_of_once():
    write("a.txt", "good")
    write("b.jsonl", "{\n[]\n")
    write("c.txt", "good too")
    loaded = load("*")
    with pytest.warns(UserWarning, match="skipped") as seen:
        assert [document.id for document in loaded] == ["a.txt", "c.txt"]
    broken = "line 1: broken JSON: Input data was truncated"
    assert [str(each.message) for each in seen] == [f"skipped b.jsonl: {broken} (and 1 more like it)"]


def test_what_is_loaded_tells_how_much():
    write("a.md", "# A")
    assert repr(load("*.md")) == "Loaded(1 files)"


# text


def test_a_text_file_is_one_document_named_after_its_path():
    write("docs/guide/a.txt", "Rays scatter.\n")
    assert list(load("docs/guide/a.txt")) == [
        Document(
            "docs/guide/a.txt",
            "Rays scatter.\n",
            title="a.txt",
            source="guide",
            meta={"path": "docs/guide/a.txt", "type": "txt"},
        )
    ]


def test_a_file_without_a_folder_is_its_own_source():
    write("a.md", "plain")
    (document,) = load("a.md")
    assert (document.title, document.source) == ("a.md", "a.md")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"\xef\xbb\xbfna\xc3\xafve", "naïve"),
        ("naïve".encode("utf-16"), "naïve"),
        ("x" * 200 + "é", "x" * 200 + "é"),
    ],
)
def test_byte_order_marks_are_no_text(content, text):
    write("a.txt", content)
    assert [document.text for document in load("a.txt")] == [text]


def test_one_bad_byte_in_a_long_text_is_replaced_and_noted():
    write("a.txt", b"x" * 200 + b"\xe9")
    (document,) = load("a.txt")
    assert document.text == "x" * 200 + "\ufffd"
    assert document.meta == {"path": "a.txt", "type": "txt", "replaced": 1}


def test_a_text_of_another_encoding_is_skipped():
    write("a.txt", "Grüße aus Köln".encode("latin-1"))
    loaded = load("a.txt")
    assert skipping(loaded) == []
    assert loaded.skipped == [Skipped("a.txt", "not UTF-8 text: byte 2 is 0xfc")]


@pytest.mark.parametrize("content", ["", " \n\t\n", b"\xef\xbb\xbf"])
def test_a_file_without_text_is_skipped(content):
    write("a.md", content)
    loaded = load("a.md")
    assert skipping(loaded) == []
    assert loaded.skipped == [Skipped("a.md", "the file has no text")]


def test_a_file_that_cannot_be_read_is_skipped():
    path = write("a.txt", "gone")
    loaded = load("a.txt")
    path.unlink()
    assert skipping(loaded) == []
    assert loaded.skipped[0].reason.startswith("FileNotFoundError: ")


def test_ten_megabytes_of_text_are_one_document():
    write("a.txt", "0123456789" * 1_000_000)
    assert [len(document.text) for document in load("a.txt")] == [10_000_000]


# web pages, PDFs, notebooks

PAGE = """<!doctype html><html><head><meta charset="{0}"><title>On rays</title></head><body>
<nav><a href="/">Home</a> <a href="/shop">Shop</a></nav>
<article><h1>Rays</h1><p>Rays scätter in matter, often and in many ways, as books on rays tell.</p>
<h2>Waves</h2><p>More words stand here, to be read by people who like to read about waves.</p></article>
<footer>All rights reserved</footer></body></html>"""


@pytest.mark.parametrize("ending", ["html", "htm"])
@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1"])
def test_of_a_web_page_the_main_text_is_taken_as_markdown(ending, charset):
    pytest.importorskip("trafilatura", exc_type=ImportError)
    write(f"web/a.{ending}", PAGE.format(charset).encode(charset))
    (document,) = load(f"web/a.{ending}")
    assert "# Rays\n\nRays scätter" in document.text
    assert "## Waves" in document.text
    assert "Shop" not in document.text
    assert (document.title, document.source, document.meta["type"]) == ("Rays", "web", ending)


def test_a_web_page_without_text_is_skipped():
    pytest.importorskip("trafilatura", exc_type=ImportError)
    write("a.html", "<html><head><title>Nothing</title></head><body><script>run()</script></body></html>")
    write("b.html", b"")
    loaded = load("*.html")
    assert skipping(loaded) == []
    assert loaded.skipped == [Skipped("a.html", "the file has no text"), Skipped("b.html", "no HTML page")]


def test_the_pages_of_a_pdf_are_one_document_with_form_feeds_between():
    pytest.importorskip("pypdf")
    write("a.pdf", pdf("Rays scatter.", "Waves too.", title="On rays"))
    (document,) = load("a.pdf")
    assert (document.text, document.title) == ("Rays scatter.\fWaves too.", "On rays")
    assert document.meta == {"path": "a.pdf", "type": "pdf"}


def test_broken_empty_and_locked_pdfs_are_skipped_and_the_rest_is_read(caplog):
    pypdf = pytest.importorskip("pypdf")
    write("broken.pdf", b"%PDF-1.4 and then nothing of use")
    write("good.pdf", pdf("Rays scatter."))
    write("scan.pdf", pdf(""))
    writer = pypdf.PdfWriter(clone_from="good.pdf")
    writer.encrypt("secret", algorithm="RC4-40")
    writer.write("locked.pdf")
    loaded = load("*.pdf")
    assert [(document.id, document.title) for document in skipping(loaded)] == [("good.pdf", "good.pdf")]
    assert [skipped.path for skipped in loaded.skipped] == ["broken.pdf", "locked.pdf", "scan.pdf"]
    assert [skipped.reason for skipped in loaded.skipped[1:]] == [
        "the PDF is locked by a password",
        "the file has no text",
    ]


@pytest.mark.parametrize(("name", "module", "extra"), [("a.pdf", "pypdf", "pdf"), ("a.html", "trafilatura", "html")])
def test_a_missing_extra_is_told_before_anything_is_read(name, module, extra, monkeypatch):
    write(name, "x")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"needs '{module}'; run: pip install 'sage-nb\[{extra}\]'"):
        load(name)


JULIA = {"name": "julia-1.9", "display_name": "Julia", "language": "julia"}


def test_of_a_notebook_text_and_code_are_taken_but_no_outputs():
    nbformat = pytest.importorskip("nbformat")
    v4 = nbformat.v4
    output = v4.new_output("stream", text="printed")
    cells = [
        v4.new_markdown_cell("# Rays\nThey scatter."),
        v4.new_code_cell("print(1)\nprint(2)", outputs=[output]),
        v4.new_code_cell(""),
    ]
    notebook = v4.new_notebook(cells=cells, metadata={"kernelspec": JULIA})
    nbformat.write(notebook, "a.ipynb")
    (document,) = load("a.ipynb")
    assert document.text == "# Rays\nThey scatter.\n\n```julia\nprint(1)\nprint(2)\n```"
    assert (document.title, document.meta["type"]) == ("Rays", "ipynb")


@pytest.mark.parametrize("content", ['{"worksheets": []}', "{", "[]"])
def test_a_file_that_is_no_notebook_is_skipped(content):
    write("a.ipynb", content)
    loaded = load("a.ipynb")
    assert skipping(loaded) == []
    assert loaded.skipped[0].reason.startswith("no notebook of format 4: ")


# rows

LINES = """{"id": "d1", "text": "one", "title": "T", "source": "S", "parent": "P", "year": 2020, "tags": []}

{"id": 7, "text": "two", "draft": true, "score": 0.5, "by": null}
{"text": "three"}
"""
ROWS = [
    Document("d1", "one", "T", "S", "P", {"year": 2020}),
    Document("7", "two", source="a.jsonl", meta={"draft": True, "score": 0.5, "by": None}),
    Document("data/a.jsonl:4", "three", source="a.jsonl"),
]


def test_each_line_of_a_jsonl_is_a_document():
    write("data/a.jsonl", "\ufeff" + LINES)
    assert list(load("data/a.jsonl")) == ROWS


def test_a_packed_jsonl_is_read_like_a_plain_one():
    write("data/a.jsonl.gz", gzip.compress(LINES.encode()))
    assert [document.text for document in load("data/*.jsonl.gz")] == ["one", "two", "three"]


def test_a_broken_line_is_reported_by_its_number_and_the_others_are_kept():
    lines = [b'{"text": "one"}', b'{"text": ', b"5", b'{"txt": "x"}', b'{"text": 5}', b'{"text": " "}']
    write("a.jsonl", b"\n".join([*lines, b'{"text": "\xff"}', b'{"text": "last"}']))
    loaded = load("a.jsonl")
    assert [document.id for document in skipping(loaded)] == ["a.jsonl:1", "a.jsonl:8"]
    assert [skipped.reason for skipped in loaded.skipped][:5] == [
        "line 2: broken JSON: Input data was truncated",
        "line 3: not a JSON object: b'5'",
        "line 4: no field 'text' (fields: txt)",
        "line 5: field 'text' is a int, not a string",
        "line 6: document 'a.jsonl:6' has no text",
    ]
    assert loaded.skipped[5].reason.startswith("line 7: broken JSON: 'utf-8' codec")


def test_the_lines_before_a_torn_end_are_kept():
    whole = gzip.compress(b"".join(b'{"text": "%d %s"}\n' % (n, b"word " * n) for n in range(300)))
    write("a.jsonl.gz", whole[:-20])
    loaded = load("a.jsonl.gz")
    assert len(skipping(loaded)) > 200
    assert loaded.skipped[0].reason.startswith("EOFError: ")


def test_each_row_of_a_csv_is_a_document_and_ids_stay_text():
    write("a.csv", '\ufeffid,text,year,ok,ratio\n007,"one\nline",2020,True,\n,NA,,False,1.5\n')
    assert list(load("a.csv")) == [
        Document("007", "one\nline", source="a.csv", meta={"year": 2020, "ok": True, "ratio": None}),
        Document("a.csv:2", "NA", source="a.csv", meta={"year": None, "ok": False, "ratio": 1.5}),
    ]


def test_a_csv_row_that_does_not_fit_is_reported_and_the_others_are_kept():
    write("a.csv", "id,text\n1,one,more,still more\n2,two\n3,\n4\n,five\n")
    loaded = load("a.csv")
    assert [document.id for document in skipping(loaded)] == ["2", "a.csv:5"]
    assert [skipped.reason for skipped in loaded.skipped] == [
        "row 3: document '3' has no text",
        "row 1: 4 cells, not 2",
        "row 4: 1 cells, not 2",
    ]


def test_a_column_of_a_csv_has_one_type_however_long_it_is():
    write("a.csv", "text,code\n" + "x,12\n" * 1500 + "x,A3\n")
    assert {type(document.meta["code"]) for document in load("a.csv")} == {str}


def test_a_cell_of_ten_megabytes_is_a_document():
    write("a.csv", f'id,text\n1,"{"0123456789" * 1_000_000}"\n')
    assert [len(document.text) for document in load("a.csv")] == [10_000_000]


def test_a_long_csv_counts_its_rows_through():
    write("a.csv", "text\n" + "".join(f"row {n}\n" for n in range(1, 2502)))
    ids = [document.id for document in load("a.csv")]
    assert (len(ids), ids[1000], ids[-1]) == (2501, "a.csv:1001", "a.csv:2501")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"id,body\n1,one\n", "no column 'text' (columns: id, body)"),
        (b"text\ncaf\xe9\n", "not UTF-8 text: byte 8 is 0xe9"),
        (b"\n", "the file has no text"),
    ],
)
def test_a_csv_that_is_none_is_skipped_with_the_reason(content, reason):
    write("a.csv", content)
    loaded = load("a.csv")
    assert skipping(loaded) == []
    assert [skipped.reason.startswith(reason) for skipped in loaded.skipped] == [True]


def test_each_row_of_a_parquet_is_a_document():
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.table(
        {
            "id": ["d1", None],
            "text": ["one", "two"],
            "when": [date(2020, 5, 1), None],
            "weight": [0.5, float("nan")],
            "tags": [["a"], []],
        }
    )
    parquet.write_table(table, "a.parquet")
    assert list(load("a.parquet")) == [
        Document("d1", "one", source="a.parquet", meta={"when": "2020-05-01", "weight": 0.5}),
        Document("a.parquet:2", "two", source="a.parquet", meta={"when": None, "weight": None}),
    ]


def test_a_parquet_that_is_none_or_lacks_a_text_is_skipped():
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table({"body": ["one"]}), "a.parquet")
    write("b.parquet", b"PAR1 and then nothing of use")
    loaded = load("*.parquet")
    assert skipping(loaded) == []
    assert loaded.skipped[0] == Skipped("a.parquet", "no column 'text' (columns: body)")
    assert loaded.skipped[1].reason.startswith("ArrowInvalid: ")


def test_files_that_are_sound_warn_of_nothing():
    write("a.md", "# A")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(load("a.md"))) == 1
