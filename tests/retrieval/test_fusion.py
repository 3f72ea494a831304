"""Laws of the fusion rules, over any rankings; and those that borda and condorcet are known for."""

from __future__ import annotations

from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_nb.retrieval.fusion import FUSIONS, Ranking, borda_count, condorcet

NAMES = "abcdefg"
ORDERS = st.lists(st.permutations(NAMES).flatmap(lambda order: st.integers(0, 7).map(lambda k: order[:k])), min_size=1)
WEIGHTS = (0.5, 1.0, 0.2, 3.0, 0.1, 0.7)


def key(name):
    return "c", name


def ranking(order):
    return Ranking(tuple(map(key, order)), tuple(float(len(order) - n) for n in range(len(order))), floor=0.0)


def scores(rule, orders, weights=None):
    """By name."""
    found = rule([ranking(order) for order in orders], weights or [1.0] * len(orders))
    return {name: score for (_, name), score in found.items()}


def order_of(scored):
    return sorted(scored, key=lambda name: (-scored[name], name))


@pytest.mark.parametrize("rule", FUSIONS.values(), ids=FUSIONS)
@given(orders=ORDERS)
def test_every_rule_scores_what_any_ranking_holds_whatever_their_order(rule, orders):
    weights = [WEIGHTS[at % len(WEIGHTS)] for at in range(len(orders))]
    held = set().union(*orders)
    found = scores(rule, orders, weights)
    assert set(found) == held if rule is not FUSIONS["min"] else set(found) <= held
    assert found == pytest.approx(scores(rule, orders[::-1], weights[::-1]))


@pytest.mark.parametrize("rule", FUSIONS.values(), ids=FUSIONS)
@given(order=st.permutations(NAMES))
def test_one_ranking_alone_keeps_its_order(rule, order):
    found = scores(rule, [order])
    assert all(found[one] >= found[other] for one, other in pairwise(order))


@pytest.mark.parametrize("rule", [borda_count, condorcet])
@given(orders=st.lists(st.permutations(NAMES), min_size=1, max_size=5))
def test_what_all_rankings_put_before_another_comes_before_it(rule, orders):
    found = scores(rule, orders)
    for one, other in permutations(NAMES, 2):
        if all(order.index(one) < order.index(other) for order in orders):
            assert found[one] > found[other]


@pytest.mark.parametrize("rule", [borda_count, condorcet])
@given(orders=ORDERS, weights=st.permutations(WEIGHTS))
def test_a_ranking_of_no_weight_has_no_say_and_equal_ones_count_as_one_of_their_sum(rule, orders, weights):
    orders, weights = orders[:3], weights[: len(orders[:3])]
    every = [*orders, NAMES]  # all documents are known in either case
    twice = scores(rule, [*every, orders[0], NAMES[::-1]], [*weights, 1.0, 0.4, 0.0])
    once = scores(rule, [*every], [weights[0] + 0.4, *weights[1:], 1.0])
    assert twice == pytest.approx(once)


@given(orders=ORDERS)
def test_borda_gives_the_same_number_of_points_away_for_each_ranking(orders):
    found = scores(borda_count, orders)
    assert sum(found.values()) == pytest.approx(len(orders) * len(found) * (len(found) + 1) / 2)


def beats(orders, weights, one, other):
    """By the definition, pair by pair."""
    for_one = for_other = 0.0
    for order, weight in zip(orders, weights, strict=True):
        places = [order.index(each) if each in order else len(NAMES) for each in (one, other)]
        for_one += weight * (places[0] < places[1])
        for_other += weight * (places[0] > places[1])
    return for_one > for_other + 1e-9


@given(orders=ORDERS)
def test_condorcet_counts_victories_and_half_of_the_ties(orders):
    weights = [WEIGHTS[at % len(WEIGHTS)] for at in range(len(orders))]
    found = scores(condorcet, orders, weights)
    for one in found:
        others = [name for name in found if name != one]
        won = sum(beats(orders, weights, one, other) for other in others)
        lost = sum(beats(orders, weights, other, one) for other in others)
        assert found[one] == pytest.approx((won + (len(others) - won - lost) / 2) / len(others) if others else 0.5)


@given(orders=st.lists(st.permutations(NAMES), min_size=3, max_size=7))
def test_a_group_that_beats_everyone_outside_it_comes_before_them(orders):
    """The extended Condorcet criterion, for every group there is; the winner against all is a group of one."""
    weights = [1.0] * len(orders)
    ranked = order_of(scores(condorcet, orders))
    for size in range(1, len(NAMES)):
        for group in permutations(NAMES, size) if size < 3 else ():
            rest = [name for name in NAMES if name not in group]
            if all(beats(orders, weights, one, other) for one in group for other in rest):
                assert set(ranked[:size]) == set(group)


def test_a_circle_is_a_tie_where_a_sort_by_majority_would_pick_one():
    assert scores(condorcet, ["abd", "bda", "dab"]) == {"a": 0.5, "b": 0.5, "d": 0.5}


@pytest.mark.parametrize("rule", FUSIONS.values(), ids=FUSIONS)
def test_rankings_of_nothing_are_fused_to_nothing(rule):
    assert scores(rule, ["", ""]) == {}
