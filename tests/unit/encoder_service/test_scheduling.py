"""The decisions: whose texts go into the next batch."""

from collections import deque
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder_service.pace import Pace
from encoder_service.scheduling import (
    Client,
    Part,
    Priority,
    batch_tokens,
    bulk_batch_tokens,
    choose_class,
    choose_parts,
    expected_wait_s,
)


@dataclass(slots=True, eq=False)
class Waiting:
    """A call as a decision sees it."""

    lengths: list[int]
    next_text: int = 0
    has_left: bool = False


def client(*calls: Waiting, served: float = 0.0) -> Client[Waiting]:
    return Client(deque(calls), served)


def call(*lengths: int, next_text: int = 0, has_left: bool = False) -> Waiting:
    return Waiting(list(lengths), next_text, has_left)


def parts_of(chosen: list[tuple[Client[Waiting], Part[Waiting]]]) -> list[tuple[Waiting, int, int]]:
    return [(part.call, part.start, part.stop) for _, part in chosen]


def test_a_batch_takes_a_clients_calls_in_order_while_they_fit() -> None:
    first, second, third = call(4), call(6), call(1)
    assert parts_of(choose_parts([client(first, second, third)], 10)) == [(first, 0, 1), (second, 0, 1)]


def test_a_batch_takes_a_part_of_a_call_that_does_not_fit_whole() -> None:
    first, second = call(3), call(4, 3, 3)
    assert parts_of(choose_parts([client(first, second)], 10)) == [(first, 0, 1), (second, 0, 2)]


def test_a_batch_goes_on_where_the_last_one_stopped() -> None:
    first, second = call(4, 4, 4, next_text=2), call(5)
    assert parts_of(choose_parts([client(first, second)], 10)) == [(first, 2, 3), (second, 0, 1)]


def test_a_text_larger_than_a_batch_goes_alone() -> None:
    large = call(25, 1)
    assert parts_of(choose_parts([client(large)], 10)) == [(large, 0, 1)]


def test_nobody_overtakes_a_text_that_waits_for_room() -> None:
    first, large, small = call(6), call(6), call(1)
    assert parts_of(choose_parts([client(first, large), client(small, served=7)], 10)) == [(first, 0, 1)]


def test_calls_whose_caller_has_left_are_passed_over() -> None:
    gone, here = call(5, has_left=True), call(8)
    assert parts_of(choose_parts([client(gone, here)], 10)) == [(here, 0, 1)]


def test_the_client_that_was_served_least_goes_first() -> None:
    much, little = call(10), call(10)
    assert parts_of(choose_parts([client(much, served=50), client(little, served=40)], 10)) == [(little, 0, 1)]


def test_a_client_with_one_text_does_not_wait_for_one_with_thousands() -> None:
    huge, small = call(*[20] * 5000), call(20)
    chosen = choose_parts([client(huge), client(small)], 600)
    assert small in [part.call for _, part in chosen]


def test_two_busy_clients_get_equal_shares() -> None:
    one, other = client(call(*[20] * 5000)), client(*(call(20) for _ in range(5000)))
    tokens = {id(one): 0, id(other): 0}
    for who, part in choose_parts([one, other], 40_000):
        tokens[id(who)] += part.tokens
    assert tokens[id(one)] == pytest.approx(tokens[id(other)], rel=0.02)


def test_nothing_waiting_makes_an_empty_batch() -> None:
    assert choose_parts([], 10) == []
    assert choose_parts([client(call(3, has_left=True))], 10) == []


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1000), st.lists(st.lists(st.integers(1, 400), min_size=1, max_size=6), min_size=1, max_size=5)
        ),
        max_size=6,
    ),
    st.integers(1, 600),
)
def test_batches_bring_every_text_once_and_each_clients_in_order(
    waiting: list[tuple[float, list[list[int]]]], budget: int
) -> None:
    clients = [client(*(call(*lengths) for lengths in calls), served=served) for served, calls in waiting]
    texts = sum(len(lengths) for _, calls in waiting for lengths in calls)
    seen: list[list[tuple[int, int]]] = [[] for _ in clients]
    while sum(map(len, seen)) < texts:
        chosen = choose_parts(clients, budget)
        assert chosen
        tokens = sum(part.tokens for _, part in chosen)
        assert tokens <= budget or sum(part.stop - part.start for _, part in chosen) == 1
        for who, part in chosen:
            assert part.start == part.call.next_text
            number = next(place for place, candidate in enumerate(clients) if candidate is who)
            seen[number] += [(list(who.calls).index(part.call), place) for place in range(part.start, part.stop)]
            part.call.next_text = part.stop
            who.served += part.tokens
    for (_, calls), order in zip(waiting, seen, strict=True):
        assert order == [(number, place) for number, lengths in enumerate(calls) for place in range(len(lengths))]


@pytest.mark.parametrize(
    ("has_queries", "has_bulk", "bulk_waits_s", "expected"),
    [
        (False, False, 0.0, None),
        (True, False, 0.0, Priority.QUERY),
        (False, True, 0.0, Priority.BULK),
        (True, True, 0.1, Priority.QUERY),
        (True, True, 0.6, Priority.BULK),
    ],
)
def test_queries_go_first_until_bulk_work_has_waited_too_long(
    has_queries: bool, has_bulk: bool, bulk_waits_s: float, expected: Priority | None
) -> None:
    assert choose_class(has_queries=has_queries, has_bulk=has_bulk, bulk_waits_s=bulk_waits_s) is expected


def test_a_batch_takes_a_quarter_of_a_second() -> None:
    assert batch_tokens(4096, None) == 4096
    assert batch_tokens(4096, 100_000.0) == 4096
    assert batch_tokens(4096, 4_000.0) == 1_000
    assert batch_tokens(4096, 10.0) == 256


@pytest.mark.parametrize(
    ("tokens_per_s", "alone", "beside"),
    [
        (None, 4096, 128),
        (20_000.0, 4096, 200),  # 10 ms
        (2_000.0, 500, 128),  # a slow model: a row of tokens, which is what it does best
        (1e6, 4096, 4096),  # a fast one does a whole batch in less
    ],
)
def test_bulk_work_gets_small_batches_while_queries_wait_or_come(
    tokens_per_s: float | None, alone: int, beside: int
) -> None:
    def bulk(*, has_queries: bool, came_s_ago: float) -> int:
        return bulk_batch_tokens(4096, tokens_per_s, 0.01, has_queries=has_queries, query_came_s_ago=came_s_ago)

    assert bulk(has_queries=False, came_s_ago=float("inf")) == alone
    assert bulk(has_queries=False, came_s_ago=0.5) == beside
    assert bulk(has_queries=True, came_s_ago=60.0) == beside


def test_a_call_waits_for_itself_for_what_goes_before_and_for_the_rest_of_its_batch() -> None:
    pace = Pace(s_per_token=0.005)  # 200 tokens/s: a batch is the least, 256 tokens
    assert expected_wait_s(100, 0, pace, 4096, None) == pytest.approx(0.5 + 0.02)
    assert expected_wait_s(100, 300, pace, 4096, None) == pytest.approx(0.005 * (100 + 300 + 256) + 0.02)
    assert expected_wait_s(100, 200, pace, 4096, None) == pytest.approx(0.005 * (100 + 200 + 200) + 0.02)
    # Each half a second a row of bulk work goes before it, which takes this engine 0.64 s.
    assert expected_wait_s(100, 100, pace, 4096, 0.01) == pytest.approx(0.005 * 300 * 2.28 + 0.02)
    assert expected_wait_s(100, 300, Pace(), 4096, 0.01) == 0.0
