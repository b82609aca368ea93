"""Tokens told from characters."""

from hypothesis import given
from hypothesis import strategies as st

from encoder_service.token_forecast import TokenForecast


def test_before_anything_is_known_a_text_has_a_token() -> None:
    assert TokenForecast(256).tokens([100, 1]) == 2


@given(st.integers(1, 1000), st.integers(1, 500), st.integers(1, 30))
def test_even_texts_are_forecast_with_caution(characters: int, tokens: int, calls: int) -> None:
    forecast = TokenForecast(10_000)
    for _ in range(calls):
        forecast.learn(characters, tokens)
    assert 0.8 * tokens - 1 <= forecast.tokens([characters]) <= max(1, tokens)


def test_words_alone_do_not_make_sentences_long() -> None:
    """A word has two special tokens beside it, more than characters perhaps."""
    forecast = TokenForecast(10_000)
    for _ in range(20):
        forecast.learn(1, 3)
        forecast.learn(1000, 500)
    assert forecast.tokens([1000]) <= 500


def test_no_text_has_more_than_the_model_reads() -> None:
    forecast = TokenForecast(256)
    forecast.learn(10, 10)
    assert forecast.tokens([1_000_000]) == 256
    assert forecast.tokens([1_000_000, 1, 1_000_000]) == 513
