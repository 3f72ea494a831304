"""Texts laid side by side: each once, whole, and nowhere over another."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sage_nb.models.packing import STEP, Packed, Tokens, rows_of, width_for

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=40)


@given(LENGTHS)
def test_rows_hold_each_text_once_and_are_wide_enough(lengths):
    width = width_for(lengths)
    rows = rows_of(lengths, width)
    assert sorted(text for row in rows for text in row) == list(range(len(lengths)))
    assert all(sum(lengths[text] for text in row) <= width for row in rows)
    assert width % STEP == 0
    half_full = sum(sum(lengths[text] for text in row) <= width / 2 for row in rows)
    assert half_full <= 1  # two such rows would have been one


@given(LENGTHS, st.booleans())
def test_each_text_lies_where_it_is_said_to(lengths, in_rows):
    texts = [Tokens(list(range(1000 * at, 1000 * at + length)), first=length // 2) for at, length in enumerate(lengths)]
    width = width_for(lengths) if in_rows else 0
    rows = rows_of(lengths, width) if in_rows else [[text] for text in range(len(texts))]
    packed = Packed.of(texts, rows, width)
    assert len(packed.ids) == (len(rows) * width or sum(lengths))
    order = [texts[text] for row in rows for text in row]
    for number, (text, start, length) in enumerate(zip(order, packed.starts, packed.lengths, strict=True)):
        place = slice(start, start + length)
        assert packed.ids[place].tolist() == text.ids
        assert packed.sides[place].tolist() == [0] * text.first + [1] * (len(text.ids) - text.first)
        assert packed.positions[place].tolist() == list(range(len(text.ids)))
        assert set(packed.owners[place]) == {number}
    assert np.count_nonzero(packed.owners >= 0) == sum(lengths)
    if in_rows:
        assert (np.diff(np.flatnonzero(packed.owners == 0)) == 1).all()
        assert packed.rows.shape == (len(rows), width)
