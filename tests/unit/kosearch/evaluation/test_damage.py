"""Queries as people type them in a hurry."""

import unicodedata

import pytest

from kosearch.evaluation.damage import DAMAGES, damage

QUERY = "대한민국의 수도는 어디에서 정했나요?"


def differing(first: str, second: str) -> list[int]:
    return [place for place, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]


def test_every_damage_does_something_to_an_ordinary_question() -> None:
    for kind in DAMAGES:
        assert damage(QUERY, kind) not in (None, QUERY), kind


@pytest.mark.parametrize("kind", DAMAGES)
def test_the_same_seed_damages_alike(kind: str) -> None:
    assert damage(QUERY, kind, 3) == damage(QUERY, kind, 3)


def test_another_seed_makes_another_typo() -> None:
    assert len({damage(QUERY, "typo", seed) for seed in range(30)}) > 10


@pytest.mark.parametrize("seed", range(200))
def test_a_typo_is_one_wrong_letter_in_one_syllable(seed: int) -> None:
    """A syllable stays a syllable, and of its two or three letters one differs."""
    typo = damage("꽃을 왜 예쁘게 얘기했던가", "typo", seed)
    assert typo is not None
    intact = "꽃을 왜 예쁘게 얘기했던가"
    (place,) = differing(intact, typo)
    before, after = (unicodedata.normalize("NFD", text[place]) for text in (intact, typo))
    assert len(differing(before, after)) == 1
    assert len(after) == len(before)


def test_particles_are_removed_and_nothing_else() -> None:
    assert damage("대한민국의 수도는 어디에서 정했나요?", "particles_removed") == "대한민국 수도 어디 정했나요?"


def test_letters_that_only_look_like_particles_stay() -> None:
    """의사, 가을, 은행 begin with them, 민주주의 ends with one."""
    assert damage("의사 가을 은행 민주주의", "particles_removed") is None


def test_particles_are_changed_in_their_places() -> None:
    assert damage("고양이가 물을 마신다", "particles_changed") == "고양이는 물은 마신다"


def test_spaces_go_and_nothing_else() -> None:
    assert damage(QUERY, "no_spaces") == QUERY.replace(" ", "")


def test_decomposed_text_is_the_same_text() -> None:
    damaged = damage(QUERY, "nfd")
    assert damaged is not None
    assert len(damaged) > len(QUERY)
    assert unicodedata.normalize("NFC", damaged) == QUERY


def test_the_keyboard_slip_is_typed_in_latin_letters() -> None:
    assert damage("환불 규정", "keyboard_slip") == "ghksqnf rbwjd"


@pytest.mark.parametrize("seed", range(20))
def test_one_word_is_left_out(seed: int) -> None:
    damaged = damage(QUERY, "word_left_out", seed)
    assert damaged is not None
    kept = damaged.split()
    assert len(kept) == len(QUERY.split()) - 1
    assert [word for word in QUERY.split() if word in kept] == kept


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("환불", "no_spaces"),
        ("refund policy", "typo"),
        ("refund policy", "nfd"),
        ("refund policy", "keyboard_slip"),
        ("환불 규정", "particles_removed"),
        ("환불 규정", "particles_changed"),
        ("환불 규정", "word_left_out"),
    ],
)
def test_a_query_without_what_would_be_damaged_is_left_out(query: str, kind: str) -> None:
    """It would count as one that bears the damage."""
    assert damage(query, kind) is None


def test_a_query_typed_in_nfd_is_damaged_as_in_nfc() -> None:
    assert damage(unicodedata.normalize("NFD", QUERY), "typo", 1) == damage(QUERY, "typo", 1)
