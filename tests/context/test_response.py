from __future__ import annotations

import itertools

import pytest

from lmstrix.context.response import KEPT, SHAPES, Answers, Grid, Posterior, Shape


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("limit", [0.02, 0.1, 1.0, 4.8, 7.0])
def test_a_shape_is_whole_at_the_base_keeps_the_threshold_at_its_limit_and_only_falls(
    shape: Shape, limit: float
) -> None:
    kept = shape.at(limit)
    assert kept(0.0) == pytest.approx(1.0)
    assert kept(limit) == pytest.approx(KEPT)
    course = [kept(limit * part / 20) for part in range(60)]
    assert all(left >= right - 1e-12 for left, right in itertools.pairwise(course))
    assert course[-1] >= 0.0


@pytest.mark.parametrize(("base", "ceiling"), [(1024, 1030), (1024, 8192), (512, 1_000_000)])
def test_a_grid_goes_from_the_base_to_the_ceiling_in_even_steps(base: int, ceiling: int) -> None:
    grid = Grid(base, ceiling)
    assert (grid.tokens[0], grid.tokens[-1]) == (base, ceiling)
    assert grid.tokens == sorted(set(grid.tokens))
    assert all(grid.cell(tokens) == cell for cell, tokens in enumerate(grid.tokens))
    assert all(after / before < 1.05 for before, after in itertools.pairwise(grid.tokens))


def believed(*answers: Answers, base: tuple[float, float] = (96.0, 100.0)) -> list[float]:
    posterior = Posterior(GRID, right=base[0], asked=base[1])
    for answer in answers:
        posterior.take(answer)
    return posterior.weigh().reaches()


GRID = Grid(1024, 8192)


def test_right_answers_move_the_limit_up_and_wrong_ones_down() -> None:
    untold = believed()
    right = believed(Answers(16, 39, 40))
    wrong = believed(Answers(16, 10, 40))
    assert right[16] > 0.99 > untold[16] > 0.05 > wrong[16]
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(right))


def test_a_length_that_is_lost_says_nothing_of_how_steep_the_fall_was() -> None:
    """Whether a tenth or none is right far beyond the limit, what lies below is as uncertain."""
    some = believed(Answers(40, 10, 100), Answers(20, 80, 100))
    none = believed(Answers(40, 0, 100), Answers(20, 80, 100))
    assert some == pytest.approx(none, abs=1e-6)


def test_tasks_that_are_harder_at_base_are_measured_by_that() -> None:
    hard = believed(Answers(16, 57, 80, ease=0.75))
    same = believed(Answers(16, 57, 80))
    assert hard[16] > 0.9
    assert same[16] < 0.2


def test_the_bounds_of_a_score_are_pooled() -> None:
    posterior = Posterior(GRID, right=96, asked=100)
    posterior.take(Answers(14, 39, 40))
    posterior.take(Answers(18, 39, 40))
    low, high = posterior.weigh().kept_bounds(16, risk=0.05)
    assert low > 0.9
    assert high == 1.0
    assert posterior.weigh().score_bounds(16, risk=0.05)[0] > 0.85


def test_the_length_where_the_limit_may_be_tells_more_than_one_where_all_is_known() -> None:
    posterior = Posterior(GRID, right=96, asked=100)
    posterior.take(Answers(16, 39, 40))
    posterior.take(Answers(40, 0, 40))
    weights = posterior.weigh()
    assert weights.telling(28, 10) > 2 * weights.telling(10, 10)
    assert weights.telling(28, 20) > weights.telling(28, 10) > 0
