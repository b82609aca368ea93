"""The model's own tokenizer follows morphemes and never loses a character."""

import math
import unicodedata
from collections import Counter
from dataclasses import dataclass

import pytest

pytest.importorskip("tokenizers")
pytest.importorskip("kiwipiepy")
pytest.importorskip("transformers")

from trainer.encoders.tokenizer import build_tokenizer, choose_pieces, word_parts


@dataclass(frozen=True)
class Morpheme:
    """What `word_parts` reads of a Kiwi token."""

    start: int
    end: int
    tag: str


PARTS = Counter(
    {"▁한": 50, "▁남자": 40, "가": 90, "▁의상": 30, "▁의": 2, "의": 500, "상": 60, "을": 200, "남": 30, "자": 30}
)


def test_words_are_cut_between_content_and_chain() -> None:
    tokens = [
        Morpheme(0, 2, "NNG"),
        Morpheme(2, 4, "JKB"),
        Morpheme(4, 5, "JX"),
        Morpheme(6, 7, "VV"),
        Morpheme(7, 9, "EF"),
    ]
    assert word_parts("학교에서는 먹는다", tokens) == ["▁학교", "에서는", "▁먹", "는다"]


def test_morphemes_that_share_a_syllable_stay_together() -> None:
    assert word_parts("했다", [Morpheme(0, 1, "VV"), Morpheme(0, 1, "EP"), Morpheme(1, 2, "EF")]) == ["▁했다"]


def test_text_without_morphemes_is_one_part() -> None:
    assert word_parts("뷁", []) == ["▁뷁"]


def test_scores_are_log_probabilities_of_what_was_counted() -> None:
    pieces = dict(choose_pieces(PARTS, 100, minimum_character_count=30))
    assert sum(math.exp(score) for piece, score in pieces.items() if piece != "▁") == pytest.approx(1.0)
    assert "▁남자" in pieces


def test_the_vocabulary_is_bounded_and_prefers_frequent_parts() -> None:
    pieces = dict(choose_pieces(PARTS, 9, minimum_character_count=30))
    assert "▁한" in pieces
    assert "▁의" not in pieces


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(choose_pieces(PARTS, 100, minimum_character_count=30), max_tokens=32)


def test_a_noun_keeps_its_piece_before_a_particle(tokenizer) -> None:
    assert tokenizer.tokenize("한 남자가 의상을") == ["▁한", "▁남자", "가", "▁의상", "을"]


def test_an_unknown_character_becomes_bytes(tokenizer) -> None:
    assert tokenizer.tokenize("뷁") == ["▁", "<0xEB>", "<0xB7>", "<0x81>"]
    assert tokenizer.unk_token_id not in tokenizer("😀 大 Ω")["input_ids"]


def test_decomposed_spaced_and_upper_case_text_gives_the_same_ids(tokenizer) -> None:
    plain = tokenizer("한 남자 abc")["input_ids"]
    assert tokenizer(unicodedata.normalize("NFD", "  한\n\t남자  ABC "))["input_ids"] == plain


def test_special_tokens_frame_every_text(tokenizer) -> None:
    assert tokenizer("")["input_ids"] == [2, 3]
    assert tokenizer("한")["input_ids"][0] == 2
    assert tokenizer("한")["input_ids"][-1] == 3
