"""Intervals hold what they promise, on distributions that are known."""

import math

import numpy as np
import pytest

from kosearch.evaluation.bootstrap import mean_interval, mean_intervals, paired_difference, share_kept

RESAMPLES = 1_000


@pytest.mark.parametrize("kind", ["normal", "reciprocal ranks"])
def test_nineteen_intervals_of_twenty_hold_the_true_mean(kind: str) -> None:
    """400 samples of 60 queries each, of a bell curve and of what reciprocal ranks look like."""
    generator = np.random.default_rng(1)
    ranks = np.array([1.0, 0.5, 1 / 3, 0.0])
    chances = [0.5, 0.2, 0.1, 0.2]
    held = 0
    for trial in range(400):
        if kind == "normal":
            values, truth = generator.normal(0.3, 1.0, 60), 0.3
        else:
            values, truth = generator.choice(ranks, 60, p=chances), float(ranks @ chances)
        interval = mean_interval(values, seed=trial, resamples=RESAMPLES)
        held += interval.low <= truth <= interval.high
    assert 0.91 <= held / 400 <= 0.98


def test_the_interval_is_as_wide_as_the_standard_error_says() -> None:
    values = np.random.default_rng(2).normal(0.5, 0.2, 400)
    interval = mean_interval(values)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(400), rel=0.05)


def test_the_same_seed_gives_the_same_interval_and_another_one_another() -> None:
    values = np.random.default_rng(3).random(50)
    assert mean_interval(values, seed=7) == mean_interval(values, seed=7)
    assert mean_interval(values, seed=7).low != mean_interval(values, seed=8).low


def test_columns_are_resampled_each_for_itself() -> None:
    values = np.random.default_rng(4).random((50, 2))
    assert mean_intervals(values)[1] == mean_interval(values[:, 1])


@pytest.mark.parametrize("values", [[], [0.4]])
def test_fewer_than_two_queries_have_no_interval(values: list[float]) -> None:
    interval = mean_interval(np.array(values))
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert interval.n == len(values)


def test_p_values_of_equal_systems_are_spread_evenly() -> None:
    """Where there is no difference, one p value of twenty is below 0.05, and half of them below 0.5."""
    generator = np.random.default_rng(5)
    p_values = []
    for trial in range(300):
        first = generator.random(60)
        second = first + generator.normal(0, 0.1, 60)
        p_values.append(paired_difference(first, second, seed=trial, resamples=RESAMPLES).p_value)
    assert 0.02 <= np.mean(np.array(p_values) < 0.05) <= 0.09
    assert 0.42 <= np.mean(np.array(p_values) < 0.5) <= 0.58


def test_a_difference_that_every_query_shows_is_none_of_chance() -> None:
    first = np.random.default_rng(6).random(40)
    found = paired_difference(first, first + 0.1)
    assert found.mean == pytest.approx(0.1)
    assert found.low == pytest.approx(0.1)
    assert found.p_value < 0.001


def test_no_difference_at_all_is_sure_to_be_chance() -> None:
    same = np.random.default_rng(7).random(40)
    assert paired_difference(same, same).p_value == 1.0


def test_the_p_value_of_a_swap_is_the_same() -> None:
    first, second = np.random.default_rng(8).random((2, 40))
    there, back = paired_difference(first, second), paired_difference(second, first)
    assert there.mean == -back.mean
    assert there.p_value == back.p_value


def test_the_share_kept_pairs_the_queries() -> None:
    """All queries keep 0.8: however they are drawn, so does their mean."""
    clean = np.random.default_rng(9).random(30)
    kept = share_kept(clean, 0.8 * clean)
    assert (kept.mean, kept.low, kept.high) == (pytest.approx(0.8), pytest.approx(0.8), pytest.approx(0.8))


def test_nothing_found_intact_has_no_share() -> None:
    assert math.isnan(share_kept(np.zeros(5), np.ones(5)).mean)
