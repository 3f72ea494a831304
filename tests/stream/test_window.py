"""Windows as values: which of them a time falls into."""

from __future__ import annotations

import pytest

from sage_nb.errors import BadValueError
from sage_nb.stream.window import TimeWindows, sliding


@pytest.mark.parametrize("windows", [TimeWindows(0.3, 0.3), TimeWindows(0.1, 0.1), TimeWindows(0.7, 0.7)])
def test_windows_of_tenths_leave_no_gap_and_do_not_overlap(windows):
    for tenths in range(-100, 100):
        (span,) = windows.spans(tenths / 10)
        assert span[0] <= tenths / 10 < span[1]
        assert windows.spans(span[1])[0][0] == span[1]


def test_a_time_on_the_edge_is_in_the_window_that_begins_there():
    assert TimeWindows(0.2, 0.2).spans(0.6) == [(0.6, 0.8)]
    assert TimeWindows(10, 5).spans(-5) == [(-10, 0), (-5, 5)]
    assert repr(TimeWindows(0.3, 0.3).spans(-0.2)) == "[(-0.3, 0.0)]"


def test_a_slide_shorter_than_a_microsecond_is_refused():
    with pytest.raises(BadValueError, match="a window's slide must be 1e-06 seconds or more, got 1e-07"):
        sliding(1, 1e-7)
