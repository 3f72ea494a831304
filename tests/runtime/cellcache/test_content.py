"""Captured values count by their content: equal content, equal digest, and whatever differs gives another."""

from __future__ import annotations

import array
import contextlib
import copy
import datetime
import decimal
import enum
import fractions
import functools
import json
import logging
import operator
import re
import threading
import uuid
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_nb.records.values import Document
from sage_nb.runtime.cellcache.code import Fingerprinted, Unknown, changed, code_fingerprint
from sage_nb.runtime.cellcache.content import Content, UnknowableError

pd = pytest.importorskip("pandas")
Pair = namedtuple("Pair", "x y")  # noqa: PYI024  as it is made in many a notebook


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1


@dataclass(frozen=True)
class Point:
    x: int
    tags: list[str] = field(default_factory=list)


class Row(msgspec.Struct):
    name: str
    n: int = 0


class Slotted:
    __slots__ = ("__secret", "left", "right")

    def __init__(self, left, secret=0):
        self.left, self.__secret = left, secret


class Words(list):
    pass


class Model:
    """Says itself what it is; what else it holds does not count."""

    def __init__(self, said, held=0):
        self.fingerprint, self.held = said, iter(str(held))


class Collection:
    def __init__(self, said):
        self.said = said

    def fingerprint(self):
        return self.said


def holding(value):
    """A function that holds a value."""
    return lambda: value


def of(value):
    found = code_fingerprint(holding(value))
    assert isinstance(found, Fingerprinted), found
    return found.digest


def loop(*values):
    """A list that holds itself behind its values."""
    made = list(values)
    made.append(made)
    return made


def frame(**how):
    return pd.DataFrame({"a": [1, 2], "b": ["x", None]}, **how)


# Groups of values: within one all have one digest, across groups none.
GROUPS = [
    [None],
    [True],
    [1],
    [1.0],
    [2**70],
    [10**6000],
    [-(10**6000)],
    ["1"],
    [b"1"],
    [bytearray(b"1")],
    [0.0],
    [-0.0],
    [float("nan"), -float("nan"), float("inf") - float("inf")],
    [...],
    [1j],
    [complex(0.0, -1.0)],
    ["x" * 100_000],
    ["x" * 99_999 + "y"],
    ["\ud800"],
    [[]],
    [()],
    [{}],
    [set(), set()],
    [frozenset()],
    [{0, 8}, {8, 0}],  # of which one gives 0 first, the other 8
    [[1, 2]],
    [[2, 1]],
    [[[1], 2]],
    [[1, [2]]],
    [(1, 2)],
    [Pair(1, 2)],
    [{1, 2, 3, "a"}, {"a", 3, 2, 1}],
    [{frozenset({1, 2}), frozenset({3})}],
    [{frozenset({1}), frozenset({2, 3})}],
    [{"a": 1, "b": 2}],
    [{"b": 2, "a": 1}],  # what goes through it sees another order
    [{"a": 2, "b": 1}],
    [OrderedDict(a=1, b=2)],
    [Counter("aab")],
    [defaultdict(list, a=[1])],
    [defaultdict(set, a=[1])],
    [deque([1, 2])],
    [deque([1, 2], maxlen=2)],
    [array.array("i", [1, 2])],
    [range(3)],
    [slice(0, 3)],
    [SimpleNamespace(a=1)],
    [Words([1]), Words([1])],
    [Color.RED],
    [Color.BLUE],
    [Level.LOW],
    [Path("a/b"), Path("a//b")],
    [Path("a/c")],
    [re.compile("a+")],
    [re.compile("a+", re.IGNORECASE)],
    [datetime.datetime(2026, 1, 1)],
    [datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)],
    [datetime.date(2026, 1, 1)],
    [datetime.timedelta(1)],
    [decimal.Decimal("1.0")],
    [decimal.Decimal("1.00")],
    [fractions.Fraction(1, 2)],
    [uuid.UUID(int=1)],
    [uuid.UUID(int=2)],
    [Point(1), Point(1, [])],
    [Point(1, ["a"])],
    [Row("a")],
    [Row("a", 1)],
    [Document("a", "text")],
    [Document("b", "text")],
    [Slotted(1)],
    [Slotted(2)],
    [Slotted(1, 2)],
    [ValueError("a")],
    [ValueError("b")],
    [Model("m1"), Model("m1", 2)],
    [Model("m2")],
    [Collection("c1"), Collection("c1")],
    [Collection("c2")],
    [np.arange(6), np.arange(12)[::2] // 2],
    [np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3))],
    [np.arange(6).reshape(3, 2)],
    [np.arange(6, dtype=np.int32)],
    [np.arange(6.0)],
    [np.zeros(0)],
    [np.zeros((0, 3))],
    [np.array(1)],
    [np.int64(1)],
    [np.float64(1)],
    [np.array(["a", "b"])],
    [np.array(["a", "b"], dtype=object)],
    [np.array(["a", None], dtype=object)],
    [np.array([1, 2], dtype="datetime64[s]")],
    [np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])],
    [np.array([(1, 2.0)], dtype=[("a", "i4"), ("c", "f8")])],
    [np.dtype("f4")],
    [frame()],
    [frame(index=[5, 6])],
    [frame().rename(columns={"a": "c"})],
    [frame().astype({"a": float})],
    [frame().astype({"b": "category"})],
    [frame().assign(b=["x", "y"])],
    [frame()["a"]],
    [frame()["a"].rename("z")],
    [pd.Index([1, 2])],
    [pd.MultiIndex.from_tuples([(1, "a"), (2, "b")])],
    [pd.MultiIndex.from_tuples([(1, "a"), (2, "c")])],
    [pd.Series([1, None], dtype="Int64")],
    [pd.Series(pd.to_datetime(["2026-01-01"], utc=True))],
    [pd.Series(pd.to_datetime(["2026-01-02"], utc=True))],
    [len],
    [str.lower],
    ["a-b".split],
    ["a-c".split],
    [json.dumps],
    [json.loads],
    [json],
    [re],
    [np.add],
    [dict],
    [Color],
    [Point],
    [list[int]],
    [list[str]],
    [operator.itemgetter("a")],
    [operator.itemgetter("b")],
    [functools.partial(int, base=2)],
    [functools.partial(int, base=8)],
    [logging.getLogger("a")],
    [logging.getLogger("b")],
    [loop(1), loop(1)],
    [loop(2)],
    [loop(1, 1)],
]


def test_equal_content_has_equal_digests_and_unequal_content_never():
    digests = [[of(value) for value in group] for group in GROUPS]
    for group, found in zip(GROUPS, digests, strict=True):
        assert len(set(found)) == 1, group
    firsts = [found[0] for found in digests]
    twice = [group for group, first in zip(GROUPS, firsts, strict=True) if firsts.count(first) > 1]
    assert twice == []


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"k": v}, lambda v: (0, v), Point, holding, Collection])
def test_what_holds_a_value_counts_it(wrap):
    assert of(wrap(["a"])) == of(wrap(["a"]))
    assert of(wrap(["a"])) != of(wrap(["b"]))


PLAIN = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-3, 3), st.floats(width=16), st.text(max_size=2), st.binary(max_size=2)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=1), inner, max_size=3),
        st.frozensets(st.integers(-2, 2) | st.text(max_size=1), max_size=3),
    ),
    max_leaves=8,
)


def written(value):
    """The value with all its types, as text; sets are without order."""
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}({', '.join(map(written, value))})"
    if isinstance(value, dict):
        return f"dict({', '.join(f'{key!r}: {written(item)}' for key, item in value.items())})"
    if isinstance(value, frozenset):
        return f"set({', '.join(sorted(map(written, value)))})"
    return f"{type(value).__name__} {value!r}"


@given(PLAIN, PLAIN)
def test_plain_values_have_one_digest_just_where_they_are_written_alike(one, other):
    content = Content(refer=lambda thing: b"", uses=lambda module: None)
    assert content.of(one) == content.of(copy.deepcopy(one))
    assert (content.of(one) == content.of(other)) == (written(one) == written(other))


@pytest.mark.parametrize(
    ("value", "change"),
    [
        ([1, [2]], lambda value: value[1].append(3)),
        ({"a": {1}}, lambda value: value["a"].add(2)),
        (np.zeros(100_000), lambda value: value.__setitem__(77_777, 1)),
        (frame(), lambda value: value.__setitem__("c", 1)),
        (Words([1]), lambda value: setattr(value, "seen", True)),
        (Row("a"), lambda value: setattr(value, "n", 5)),
        (Slotted(1), lambda value: setattr(value, "right", None)),
        (list(range(50_000)), lambda value: value.__setitem__(40_000, -1)),
    ],
)
def test_a_value_that_was_changed_in_place_has_another_digest(value, change):
    function = holding(value)
    before = code_fingerprint(function)
    assert code_fingerprint(function) == before
    change(value)
    assert changed(before, code_fingerprint(function)) == ["closure value changed"]


def test_what_a_library_makes_of_a_function_is_told_from_what_else_it_makes_of_it():
    def rows(n=1):
        yield n

    def other(n=2):
        yield n

    made = [
        wrap(given) for wrap in (contextlib.contextmanager, contextlib.asynccontextmanager) for given in (rows, other)
    ]
    for each in made:
        each.__qualname__ = "rows"
        del each.__wrapped__
    assert len({of(each) for each in made}) == 4
    assert of(made[0]) == of(made[0])


def test_shared_parts_cost_no_more_than_one_and_count_as_copies_do():
    def doubled(share):
        value = [1]
        for _ in range(6):
            value = [value, value if share else json.loads(json.dumps(value))]
        return value

    assert of(doubled(share=True)) == of(doubled(share=False))
    deep = [1]
    for _ in range(60):
        deep = [deep, deep]  # 2^60 lists, were they copies
    assert of(deep)


def test_a_web_of_objects_ends():
    nodes = [SimpleNamespace(number=number) for number in range(60)]
    for node in nodes:
        node.others = nodes
    one = of(nodes)
    nodes[37].number = -1
    assert of(nodes) != one


def test_who_points_back_at_whom_counts():
    a, b = [1], [1]
    a.append(b)
    b.append(a)
    c, d = [1], [1]
    c.append(c)
    d.append(c)
    assert of(a) != of(c)
    assert of([a, 1]) != of([a, 2])


def test_what_points_back_is_not_taken_for_standing_alone_later():
    a, b, ring = [], [], [[]]
    a.append(b)
    b.append(a)
    ring[0].append(ring)
    content = Content(refer=lambda thing: b"", uses=lambda module: None)
    content.of(a)
    assert content.of([b]) != content.of(ring)


@pytest.mark.parametrize(
    ("value", "what", "path"),
    [
        ((n for n in "a"), "a generator", ""),
        ([1, {"k": iter("a")}], "an iterator", "[1]['k']"),
        (SimpleNamespace(a=[zip()]), "an iterator", ".a[0]"),
        (memoryview(b"a"), "a memoryview", ""),
        (np.random.default_rng(1), "a random generator", ""),
        (np.array([iter("a")], dtype=object), "an iterator", "[0]"),
    ],
)
def test_what_has_no_known_content_is_refused_where_it_stands(value, what, path):
    content = Content(refer=lambda thing: b"", uses=lambda module: None)
    with pytest.raises(UnknowableError, match=what) as refused:
        content.of(value)
    assert (refused.value.what, refused.value.path) == (what, path)


def test_a_subclass_of_something_made_in_c_is_what_it_gives_to_be_copied_and_its_attributes():
    class Mine(deque):
        pass

    def made(items, seen):
        mine = Mine(items)
        mine.seen = seen
        return mine

    assert of(made([1], 1)) == of(made([1], 1))
    assert len({of(made([1], 1)), of(made([2], 1)), of(made([1], 2))}) == 3

    class Local(threading.local):
        pass

    found = code_fingerprint(holding(Local()))
    assert isinstance(found, Unknown)
    assert "captures a Local 'value', whose content cannot be known" in found.reason


def test_a_users_wrapper_around_a_users_function_is_the_function():
    def made(by):
        return functools.lru_cache(lambda x: x + by)

    assert of(made(1)) == of(made(1))
    assert of(made(1)) != of(made(2))
    assert of(np.vectorize(made(1))) != of(np.vectorize(made(2)))
    found = code_fingerprint(holding(np.frompyfunc(made(1), 1, 1)))
    assert isinstance(found, Unknown), "numpy keeps the function where no one sees it"
