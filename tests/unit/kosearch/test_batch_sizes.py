"""How much goes into one request."""

import pytest

from kosearch.batch_sizes import BatchSizer


def batches(sizer: BatchSizer, sizes: list[int]) -> list[int]:
    """Return how many items each request takes."""
    taken = []
    while sum(taken) < len(sizes):
        taken.append(sizer.take(sizes, sum(taken)))
    return taken


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        pytest.param([1] * 10, [4, 4, 2], id="by number"),
        pytest.param([30, 30, 30, 30, 90, 10, 10], [3, 1, 2, 1], id="by bytes"),
        pytest.param([500, 500, 1], [1, 1, 1], id="larger than the budget goes alone"),
        pytest.param([1, 500, 1], [1, 1, 1], id="and not with others"),
    ],
)
def test_neither_number_nor_bytes_are_exceeded(sizes: list[int], expected: list[int]) -> None:
    assert batches(BatchSizer(4, 100), sizes) == expected


def test_half_of_what_took_too_long_is_sent_next() -> None:
    """Of what was sent, which may have been less than was allowed."""
    sizer = BatchSizer(256, 1 << 30)
    sizer.shrink(100, 100)
    assert sizer.take([1] * 256, 0) == 50


def test_bytes_are_halved_too() -> None:
    sizer = BatchSizer(256, 8 << 20)
    sizer.shrink(8, 8 << 20)
    assert sizer.take([1 << 20] * 4, 0) == 4
    assert sizer.take([2 << 20] * 4, 0) == 2


def test_it_shrinks_to_one_and_grows_back_to_the_budget() -> None:
    sizer = BatchSizer(256, 8 << 20)
    for _ in range(20):
        sizer.shrink(sizer.take([100] * 256, 0), 100)
    assert sizer.take([100] * 256, 0) == 1
    taken = []
    for _ in range(60):
        sizer.grow()
        taken.append(sizer.take([100] * 300, 0))
    assert taken == sorted(taken)
    assert taken[0] == 2
    assert taken[-1] == 256
