"""Warnings of a job that runs for months."""

from __future__ import annotations

from sage_nb.runtime.warned import Warnings


def test_the_first_and_the_last_hundred_are_kept_and_the_others_counted():
    warnings = Warnings(str(n) for n in range(1000))
    assert warnings.count == 1000
    assert [*warnings] == [*map(str, range(100)), "… 800 warnings more …", *map(str, range(900, 1000))]


def test_two_hundred_are_kept_whole():
    warnings = Warnings(str(n) for n in range(200))
    assert [*warnings] == [*map(str, range(200))]


def test_a_warning_that_is_kept_is_not_said_again():
    warnings = Warnings(["a"])
    warnings.once("a")
    warnings.once("b")
    assert [*warnings] == ["a", "b"]
