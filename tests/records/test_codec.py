import gc

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sage_nb.errors import BadValueError
from sage_nb.records.codec import MAGIC, VERSION, decode, encode
from sage_nb.records.values import Document, Hit, Query, Result, Step

META = st.dictionaries(st.text(), st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.text()))
DOCUMENTS = st.builds(Document, st.text(), st.text(), st.text(), st.text(), st.text(), META)
HITS = st.builds(
    Hit, DOCUMENTS, st.integers(1, 9), st.floats(allow_nan=False),
    st.lists(st.builds(Step, st.text(), st.integers(1, 9), st.floats(allow_nan=False))).map(tuple),
)  # fmt: skip
RESULTS = st.builds(Result, st.builds(Query, st.text(), st.text()), st.lists(HITS, max_size=3).map(tuple))


@given(RESULTS)
def test_a_value_comes_back_equal(result):
    assert decode(encode(result), Result) == result


@given(st.lists(DOCUMENTS, max_size=3))
def test_lists_of_values_come_back_equal(documents):
    assert decode(encode(documents), list[Document]) == documents


def test_the_format_stands_in_front():
    assert encode("a") == b"SNB\x01\xa1a"


@given(st.binary())
def test_bytes_that_are_no_value_are_refused_in_one_line(data):
    assume(data[:1] != b"\x82" and data[:2] != b"\xde\x00")  # a mapping of two fields may be a query
    with pytest.raises(BadValueError, match=r"^these \d+ bytes are damaged, or no Query: [^\n]+$"):
        decode(MAGIC + bytes([VERSION]) + data, Query)


@given(st.data())
def test_a_torn_value_is_refused(data):
    whole = encode(Query("q1", "how do rays scatter?"))
    torn = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(BadValueError, match=r"not written by sage_nb|damaged"):
        decode(torn, Query)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not written by sage_nb: the data begins with b'', not b'SNB'"),
        (b"PK\x03\x04", "the data begins with b'PK"),
        (b"SNB\x02\xc0", r"written by a newer sage_nb \(format 2, this one reads 1\); upgrade sage-nb"),
        (b"SNB\x00\xc0", "format version 0 was never written"),
        (b"SNB\x01\xa1a", "these 6 bytes are damaged, or no Query: Expected `object`, got `str`"),
        (b"SNB\x01\xa1\xff", "these 6 bytes are damaged, or no Query: "),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(data, said):
    with pytest.raises(BadValueError, match=said):
        decode(data, Query)


@pytest.mark.parametrize("value", [object(), 2**70, "\ud800", lambda: 1])
def test_what_is_not_plain_data_is_refused(value):
    with pytest.raises(BadValueError, match=f"cannot encode a {type(value).__name__}: .*; pass plain data"):
        encode(value)


def test_the_garbage_collector_has_no_part_in_a_ranking():
    hit = Hit(Document("d1", "text", meta={"year": 1999}), 1, 0.5, (Step("bm25", 1, 0.5),))
    result = decode(encode(Result(Query("q1", "who?"), (hit,) * 3)), Result)
    assert gc.is_tracked(result), "the negative control: results are few, and hold what anybody makes"
    assert [part for part in (result.query, *result.hits, hit.document, *hit.steps) if gc.is_tracked(part)] == []
