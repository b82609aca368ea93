"""Texts that are almost an evaluation text are found; honest training data is not."""

import random

import pytest

pytest.importorskip("zstandard")

from trainer.data.leak_check import leak_key
from trainer.data.near_duplicates import NearDuplicateIndex, compare, grams_of, is_near


def is_found(protected: str, text: str) -> bool:
    return NearDuplicateIndex([leak_key(protected)]).find(leak_key(text)) is not None


@pytest.mark.parametrize(
    ("protected", "text"),
    [
        ("한 남자가 첼로를 조율하고 있다.", "남자가 첼로를 조율하고 있다."),
        ("북부 해안 도로에서 트럭이 신호등을 들이받아", "북부 해안 도로에서 트럭이 신호등을 들이받았다."),
        ("시장의 동생은 횡령죄로 징역 10년형을 선고받는다.", "시장의 동생은 횡령죄로 징역 10년형을 선고받습니다."),
        (
            "남쪽 항구에 있는 작은 어시장에서 밤새 큰 화재, 사상자 없음",
            "어제 소식: 남쪽 항구에 있는 작은 어시장에서 밤새 발생한 큰 화재, 사상자 없음",
        ),
    ],
)
def test_a_near_duplicate_is_found(protected: str, text: str) -> None:
    assert is_found(protected, text)


@pytest.mark.parametrize(
    ("protected", "text"),
    [
        ("한 남자가 그네를 타고 있다.", "두 남자가 그네를 타고 있다."),
        ("한 남자가 기타를 치고 있다.", "한 남자가 피아노를 치고 있다."),
        ("시리아의 수도는 어디인가?", "러시아의 수도는 어디인가?"),
        ("가능한 한 빨리", "우리는 모두 가능한 한 빨리 자유를 향해 가고 있다는 것을 기억하세요."),
        ("소녀가 인형을 가지고 놀고 있다.", "세 명의 아이들이 거실에서 낡은 인형을 가지고 놀고 있다."),
    ],
)
def test_a_sentence_that_only_shares_phrases_is_not(protected: str, text: str) -> None:
    assert not is_found(protected, text)


def test_a_text_shorter_than_an_n_gram_is_near_nothing() -> None:
    assert not is_found("아니", "아니요")


def test_the_most_similar_text_is_named() -> None:
    index = NearDuplicateIndex(map(leak_key, ["한 남자가 첼로를 조율하고 있다", "그 남자가 첼로를 조율하고 있다"]))
    match = index.find(leak_key("한 남자가 첼로를 조율하고 있다!"))
    assert match is not None
    assert match.protected == "한남자가첼로를조율하고있다"
    assert match.jaccard == 1.0


def test_the_index_finds_all_that_a_comparison_with_every_text_finds() -> None:
    rng = random.Random(3)
    words = ["남자가", "여자가", "공원에서", "첼로를", "기타를", "조율하고", "노래하고", "있다", "있었다", "어제", "큰"]
    protected = sorted({"".join(rng.choices(words, k=rng.randint(2, 9))) for _ in range(300)})
    texts = ["".join(rng.choices(words, k=rng.randint(2, 12))) for _ in range(600)]
    texts += [text[1:] for text in protected]
    index = NearDuplicateIndex(protected)
    found = [index.find(text) is not None for text in texts]
    expected = [
        any(is_near(compare(p, grams_of(p), grams_of(text))) for p in protected if grams_of(p)) for text in texts
    ]
    assert found == expected
    assert 200 < sum(found) < len(texts)
