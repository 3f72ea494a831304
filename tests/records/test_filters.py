import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_nb.errors import BadValueError, UnknownNameError
from sage_nb.records.filters import SUFFIXES, Filter, where
from sage_nb.records.values import Document
from sage_nb.stream.fingerprint import canonical

ARRAYS = Document("np.1", "Arrays hold numbers.", "Arrays", "numpy", "numpy.core", {"year": 2020, "draft": False})

VALUES = st.one_of(
    st.booleans(),
    st.integers(-3, 3),
    st.floats(-3, 3),
    st.text(max_size=3),
    st.sampled_from([2**70, "2", "it's"]),
)
FIELDS = st.sampled_from(["id", "text", "source", "year", "a__b", "published-on", "class", "näme", "x y"])


@st.composite
def conditions(draw) -> Filter:
    suffix = draw(st.sampled_from(sorted(SUFFIXES)))
    kinds = {"in": st.lists(VALUES, max_size=3), "nin": st.lists(VALUES, max_size=3), "exists": st.booleans()}
    strings = dict.fromkeys(["contains", "startswith"], st.text(max_size=3))
    return where(**{f"{draw(FIELDS)}__{suffix}": draw((kinds | strings).get(suffix, VALUES))})


FILTERS = st.recursive(
    conditions(),
    lambda part: st.one_of(
        st.builds(lambda a, b: a & b, part, part),
        st.builds(lambda a, b: a | b, part, part),
        st.builds(lambda a: ~a, part),
    ),
    max_leaves=6,
)
DOCUMENTS = st.builds(
    Document, id=st.text(max_size=2), text=st.text(max_size=2), source=st.text(max_size=2),
    meta=st.dictionaries(FIELDS, st.one_of(VALUES, st.none())),
)  # fmt: skip


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"source": "numpy"}, True),
        ({"source__eq": "scipy"}, False),
        ({"source__ne": "scipy"}, True),
        ({"id": "np.1", "title": "Arrays", "parent": "numpy.core"}, True),
        ({"id": "np.1", "title": "Lists"}, False),
        ({"year__ge": 2020}, True),
        ({"year__gt": 2020}, False),
        ({"year__le": 2020.0}, True),
        ({"year__lt": 2020.5}, True),
        ({"year__in": [2019, 2020]}, True),
        ({"year__nin": (2019, 2020)}, False),
        ({"source__in": set()}, False),
        ({"source__nin": []}, True),
        ({"text__contains": "hold"}, True),
        ({"text__contains": "HOLD"}, False),
        ({"text__startswith": "Arr"}, True),
        ({"title__startswith": "rays"}, False),
        ({"source__gt": "nump"}, True),
        ({"draft": False}, True),
        ({"year__exists": True}, True),
        ({"author__exists": False}, True),
        ({"author__exists": True}, False),
    ],
)
def test_each_comparison_by_an_example(condition, holds):
    assert where(**condition).accepts(ARRAYS) is holds


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_for_a_missing_field_only_the_denials_hold(suffix):
    wanted = {"in": ["x"], "nin": ["x"], "exists": False}.get(suffix, "x")
    for document in (Document("d", "text"), Document("d", "text", meta={"author": None})):
        assert where(**{f"author__{suffix}": wanted}).accepts(document) is (suffix in {"ne", "nin", "exists"})


@pytest.mark.parametrize("suffix", ["eq", "lt", "le", "gt", "ge"])
@pytest.mark.parametrize("other", ["2020", True])
def test_values_of_unlike_types_compare_as_false(suffix, other):
    assert not where(**{f"year__{suffix}": other}).accepts(ARRAYS)
    assert not where(**{f"draft__{suffix}": 0}).accepts(ARRAYS)
    assert where(draft__ne=0).accepts(ARRAYS)
    assert not where(draft__in=[0, "False"]).accepts(ARRAYS)


def test_an_empty_string_does_not_exist():
    assert where(parent__exists=False).accepts(Document("d", "text"))
    assert where(parent="").accepts(Document("d", "text"))
    assert where(draft__exists=True).accepts(ARRAYS)


def test_what_is_printed_is_the_expression():
    recent, ours = where(source="numpy", year__ge=2020), where(draft=True)
    assert repr(recent) == "where(source='numpy', year__ge=2020)"
    assert repr(recent & ~ours) == "where(source='numpy', year__ge=2020) & ~where(draft=True)"
    assert (
        repr((recent | ours) & ours) == "(where(source='numpy', year__ge=2020) | where(draft=True)) & where(draft=True)"
    )
    assert repr(~(ours & recent)) == "~(where(draft=True) & where(source='numpy', year__ge=2020))"
    assert repr(where(year__in={3, 1, 2})) == "where(year__in=(1, 2, 3))"
    assert repr(where(**{"class": "a", "x": 1})) == "where(x=1, **{'class': 'a'})"


@given(FILTERS)
def test_a_filter_is_what_it_prints(given_filter):
    again = eval(repr(given_filter), {"where": where})  # noqa: S307
    assert again == given_filter
    assert hash(again) == hash(given_filter)
    assert canonical(again.plain) == canonical(given_filter.plain)
    assert pickle.loads(pickle.dumps(given_filter)) == given_filter  # noqa: S301


@given(FILTERS, FILTERS)
def test_unequal_filters_have_unequal_fingerprints(a, b):
    assert (canonical(a.plain) == canonical(b.plain)) == (a == b)


@given(FILTERS, FILTERS, DOCUMENTS)
def test_the_operators_mean_what_they_say(a, b, document):
    assert (a & b).accepts(document) is (a.accepts(document) and b.accepts(document))
    assert (a | b).accepts(document) is (a.accepts(document) or b.accepts(document))
    assert (~a).accepts(document) is not a.accepts(document)


def test_order_and_brackets_that_change_nothing_make_no_other_filter():
    a, b, c = where(a=1), where(b=2), where(c=3)
    assert where(b=2, a=1) == where(a=1, b=2)
    assert where(a__eq=1) == a
    assert a & (b & c) == (a & b) & c
    assert ~~a == a
    assert where(a__in=[2, 1, 2]) == where(a__in=(1, 2))


def test_filters_that_python_might_take_for_equal_are_not():
    assert len({where(a=1), where(a=True), where(a=1.0), where(a="1")}) == 4
    assert where(a=1) != "where(a=1)"


def test_the_numbers_of_numpy_are_numbers():
    assert where(year__ge=np.int64(2020), x=np.float32(0.5)) == where(year__ge=2020, x=0.5)


def test_plain_is_nested_tuples():
    made = where(year__in=[2, 1]) | ~where(source="numpy")
    assert made.plain == (
        "or",
        ("where", ("year", "in", (1, 2))),
        ("not", ("where", ("source", "eq", "numpy"))),
    )


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ({}, r"where\(\) names no condition; write"),
        ({"year": None}, "year=None holds for nothing; ask with the suffix __exists=False"),
        ({"year": [2020]}, r"year takes a string, a finite number or a bool, got \[2020\]"),
        ({"year": float("nan")}, "year takes a string, a finite number or a bool, got nan"),
        ({"year__in": "2020"}, r"year__in takes a list, got '2020'; write year__in=\['2020'\]"),
        ({"year__contains": 20}, "year__contains takes a string, got 20"),
        ({"year__exists": 1}, "year__exists takes True or False, got 1"),
        ({"__eq": 1}, "'__eq' names no field"),
        ({"year": 1, "year__eq": 1}, r"where\(year, year__eq\) repeats a condition"),
    ],
)
def test_a_condition_that_makes_no_sense_is_refused(condition, said):
    with pytest.raises(BadValueError, match=said):
        where(**condition)


def test_an_unknown_suffix_is_refused_with_the_nearest():
    with pytest.raises(UnknownNameError, match="unknown filter suffix 'startwith'; did you mean 'startswith'"):
        where(title__startwith="A")


def test_and_in_words_is_refused_because_it_would_drop_a_filter():
    with pytest.raises(BadValueError, match=r"where\(a=1\) is neither true nor false; join filters with & | ~"):
        where(a=1) and where(b=2)
    with pytest.raises(TypeError, match="unsupported operand"):
        where(a=1) & True
