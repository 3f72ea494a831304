import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_nb.errors import BadValueError
from sage_nb.records.trec import (
    read_qrels,
    read_queries,
    read_run,
    write_qrels,
    write_queries,
    write_run,
)
from sage_nb.records.values import Document, Hit, Query, Result

IDS = st.text(min_size=1, max_size=6).filter(lambda name: name.split() == [name])
QRELS = st.dictionaries(IDS, st.dictionaries(IDS, st.integers(-2, 4), min_size=1, max_size=3), max_size=4)
SCORES = st.floats(allow_nan=False)


@pytest.fixture
def file(tmp_path):
    def written(content: str | bytes, name: str = "file.txt") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return written


def ranking(query: str, *scored: tuple[str, float]) -> Result:
    hits = (Hit(Document(name, ""), rank, score) for rank, (name, score) in enumerate(scored, 1))
    return Result(Query(query, "text"), tuple(hits))


# judgments

JUDGED = {"q1": {"d1": 1, "d2": 0}, "q2": {"d1": 2}}


@pytest.mark.parametrize(
    "content",
    [
        "q1 0 d1 1\nq1 0 d2 0\nq2 0 d1 2\n",
        "q1\tQ0\td1\t1\nq1\tQ0\td2\t0\nq2\tQ0\td1\t2",
        "q1\td1\t1\r\nq1\td2\t0\r\n\r\nq2\td1\t2\r\n",
        "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\nq2\td1\t2\n",
        "\ufeffqid did grade\nq1 d1 1\nq1 d2 0\nq2 d1 2\nq2 d1 2\n",
    ],
)
def test_judgments_are_read_from_every_usual_layout(file, content):
    assert read_qrels(file(content)) == JUDGED


@pytest.mark.parametrize("name", ["a.tsv", "a.qrels", "a.tsv.gz", "deep/a.txt"])
@given(qrels=QRELS)
def test_judgments_come_back(name, qrels):
    with tempfile.TemporaryDirectory() as folder:
        write_qrels(qrels, Path(folder, name))
        assert read_qrels(Path(folder, name)) == qrels


def test_judgments_are_written_as_others_read_them(tmp_path):
    write_qrels(JUDGED, tmp_path / "a.tsv")
    assert (tmp_path / "a.tsv").read_text() == "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\nq2\td1\t2\n"
    write_qrels(JUDGED, tmp_path / "a.qrels")
    assert (tmp_path / "a.qrels").read_text() == "q1 0 d1 1\nq1 0 d2 0\nq2 0 d1 2\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("q1\td1\t1\nq1\td2\n", r"^file.txt, line 2: a judgment is query, document, whole grade"),
        ("q1 0 d1 high\n", r"^file.txt, line 1: a judgment is .*, got \['q1', '0', 'd1', 'high'\]"),
        ("q1\td1\t0.5\n", "^file.txt, line 1: a judgment is"),
        ("q1\td 1\t1\n", "^file.txt, line 1: document id 'd 1' must be a word without spaces"),
        ("\nq1 d1 1\nq1 d1 0\n", "^file.txt, line 3: 'd1' has two grades for query 'q1'; keep one"),
        (b"q1 \xff 1\n", "^file.txt, line 1: not UTF-8 text"),
    ],
)
def test_a_line_that_is_no_judgment_is_refused_with_its_place(file, content, said):
    with pytest.raises(BadValueError, match=said):
        read_qrels(file(content))


@pytest.mark.parametrize("bad", ["d 1", "", "d\t1", "d\n", "d\u00a01"])
def test_an_id_with_a_space_is_not_written(tmp_path, bad):
    said = r"document id '.*' must be a word without spaces, to stand in a column"
    with pytest.raises(BadValueError, match=said):
        write_qrels({"q1": {bad: 1}}, tmp_path / "a.tsv")
    with pytest.raises(BadValueError, match=said):
        write_run([ranking("q1", (bad, 1.0))], tmp_path / "a.run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read", [read_qrels, read_run, read_queries])
def test_a_file_that_is_not_there_is_named(read, tmp_path):
    with pytest.raises(BadValueError, match=r"^there is no file '.*nope.tsv'; check the path$"):
        read(tmp_path / "nope.tsv")


# runs


def test_a_run_is_written_in_trecs_format(tmp_path):
    results = [ranking("q1", ("d2", 1.5), ("d1", 0.1)), ranking("q2"), ranking("q3", ("d1", 2.0))]
    write_run(results, tmp_path / "a.run", tag="ours")
    lines = "q1 Q0 d2 1 1.5 ours\nq1 Q0 d1 2 0.1 ours\nq3 Q0 d1 1 2.0 ours\n"
    assert (tmp_path / "a.run").read_text() == lines


def test_a_run_is_read_by_its_ranks_and_ties_keep_their_order(file):
    lines = "q1 Q0 d3 3 0.5 x\nq2\tQ0\td1\t1\t1e-3\tx\nq1 Q0 d9 1 -inf x\nq1 Q0 d2 1 2 x\n"
    assert read_run(file(lines)) == {
        "q1": [("d9", float("-inf")), ("d2", 2.0), ("d3", 0.5)],
        "q2": [("d1", 0.001)],
    }


@given(st.dictionaries(IDS, st.lists(st.tuples(IDS, SCORES), min_size=1, max_size=4), max_size=3))
def test_rankings_come_back_to_the_last_bit(run):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.run")
        write_run((ranking(query, *scored) for query, scored in run.items()), path)
        assert read_run(path) == run


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("q1 Q0 d1 1 0.5\n", "^file.txt, line 1: a run's line is 'qid Q0 docid rank score tag', got"),
        ("q1 Q0 d1 1 0.5 x\nq1 Q0 d1 one 0.5 x\n", "^file.txt, line 2: a run's line is"),
        ("q1 Q0 d1 1 much x\n", "^file.txt, line 1: a score is a number, got 'much'"),
        ("q1 Q0 d1 1 nan x\n", "^file.txt, line 1: a score is a number, got 'nan'"),
    ],
)
def test_a_line_that_is_no_ranking_is_refused_with_its_place(file, content, said):
    with pytest.raises(BadValueError, match=said):
        read_run(file(content))


def test_a_score_that_is_no_number_and_a_tag_of_two_words_are_not_written(tmp_path):
    with pytest.raises(BadValueError, match="a score is a number, got nan"):
        write_run([ranking("q1", ("d1", float("nan")))], tmp_path / "a.run")
    with pytest.raises(BadValueError, match="tag 'my run' must be a word without spaces"):
        write_run([], tmp_path / "a.run", tag="my run")


# queries

ASKED = (Query("q1", "how do rays scatter?"), Query("7", "naïve waves"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"id": "q1", "text": "how do rays scatter?"}\n{"id": 7, "text": "naïve waves"}\n'),
        (
            "a.jsonl",
            '{"_id": "q1", "text": "how do rays scatter?", "x": {}}\n{"_id": "7", "text": "naïve waves"}',
        ),
        ("a.tsv", "q1\thow do rays scatter?\n\n7\tnaïve waves\n"),
    ],
)
def test_queries_are_read_from_every_usual_layout(file, name, content):
    assert read_queries(file(content, name)) == ASKED


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
@given(asked=st.dictionaries(st.text(), st.text(), max_size=4))
def test_queries_come_back(name, asked):
    queries = tuple(Query(*each) for each in asked.items())
    with tempfile.TemporaryDirectory() as folder:
        write_queries(queries, Path(folder, name))
        assert read_queries(Path(folder, name)) == queries


@given(st.dictionaries(IDS, st.text(min_size=1).filter(lambda text: text.split() == [text])))
def test_tabs_keep_queries_of_one_line(asked):
    queries = tuple(Query(*each) for each in asked.items())
    with tempfile.TemporaryDirectory() as folder:
        write_queries(queries, Path(folder, "a.tsv"))
        assert read_queries(Path(folder, "a.tsv")) == queries


@pytest.mark.parametrize("text", ["", " ", "two\nlines", "a\ttab", " a space in front", "a\r"])
def test_what_tabs_cannot_keep_is_not_written(tmp_path, text):
    with pytest.raises(BadValueError, match=r"cannot keep the text of query 'q1'; write a .jsonl file"):
        write_queries([Query("q1", text)], tmp_path / "a.tsv")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "a.jsonl",
            '{"id": "q1"}\n',
            r"^a.jsonl, line 1: a query has an 'id' or '_id' and a 'text', got b'{",
        ),
        ("a.jsonl", '\n{"id": \n', "^a.jsonl, line 2: broken JSON: Input data was truncated"),
        (
            "a.jsonl",
            '{"id":"a","text":"x"}\n{"id":"a","text":"y"}',
            "^a.jsonl, line 2: query id 'a' comes twice",
        ),
        ("a.tsv", "q1 how do rays scatter?\n", "^a.tsv, line 1: a query is an id, a tab and a text, got"),
        ("a.tsv", "q 1\ttext\n", "^a.tsv, line 1: query id 'q 1' must be a word without spaces"),
    ],
)
def test_a_line_that_is_no_query_is_refused_with_its_place(file, name, content, said):
    with pytest.raises(BadValueError, match=said):
        read_queries(file(content, name))
