"""Plain data as bytes and back, type for type."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from sage_nb.records.plain import pack, unpack

scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary())
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(st.one_of(st.text(), st.integers()), inner)
    ),
    max_leaves=20,
)


@given(values)
@example([2**64 - 1, -(2**63)])
@example([2**64, -(2**63) - 1])
@example([1, True, 1.0, 2**70])
@example([(1,), [1]])
def test_what_comes_back_is_what_was_packed_to_the_type(value):
    assert repr(unpack(pack(value))) == repr(value)
