"""Joints: where Korean texts are cut, and what only looks like such a place."""

import pytest

from indexer_worker.chunking.joints import Joint, best_cut
from indexer_worker.chunking.outline import Outline, headings_of
from indexer_worker.chunking.sentences import last_end_by_kiwi, last_sure_end
from indexer_worker.chunking.table_rows import cell_name

FILLER = "이 법은 국민의 권리를 보호하는 것을 그 목적으로 하여 "


def cut(before: str, after: str) -> tuple[str, Joint]:
    """Cut a text that ends where it no longer fits. Returns what stands behind the cut and the kind of cut."""
    text = FILLER + before + after
    place, joint = best_cut(text, 0, len(text) - 1)
    return text[place:], joint


@pytest.mark.parametrize(
    ("before", "after", "joint"),
    [
        ("정한다.\n", "제2조(정의) 이 법에서", Joint.SECTION),
        ("정한다. ", "제2조의2(정의) 이 법에서", Joint.SECTION),
        ("정한다.\n", "제2장 총칙", Joint.SECTION),
        ("정한다.\n\n", "## 둘째 절", Joint.SECTION),
        ("정한다. <개정 2015.1.6>\n", "② 장관은", Joint.PARAGRAPH),
        ("정한다. <개정 2015.1.6> ", "② 장관은", Joint.PARAGRAPH),
        ("정한다\n\n", "다음 문단", Joint.PARAGRAPH),
        ("진료비\n  ", "2\\. 간병비: 입원", Joint.ITEM),
        ("진료비\n  ", "2의2. 간병비", Joint.ITEM),
        ("진료비.\n", "그 밖의 비용", Joint.ITEM),
        ("사례\n", "[2] 근저당권", Joint.ITEM),
        ("정한다. 1. 진료비를 준다. ", "2. 간병비", Joint.ITEM),
        ("진료비\n    ", "나\\. 신청기한", Joint.SUBITEM),
        ("진료비\n ", "2) 장애", Joint.SUBITEM),
        ("진료비\n", "간병비", Joint.LINE),
        ("정한다. ", "이 경우", Joint.SENTENCE),
        ("정하는 것이고, ", "이에 따라", Joint.CLAUSE),
    ],
)
def test_a_text_is_cut_before(before: str, after: str, joint: Joint) -> None:
    """Joints of statutes, headings, lists, lines and sentences."""
    assert cut(before, after) == (after, joint)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("법 ", "제3조제2항에 따라"),
        ("「법원조직법」 ", "제57조(재판의 공개) 제2항"),
        ("(2023. ", "1. 5. 법률 제1호)"),
        ("2023. 1. ", "5. 시행된 법"),
        ("이에 따라 2002. 1. 14. ", "법률 제6591호"),
        ("별표 1의2 중 ", "14. 교수"),
        ("알리지 아니한 ", "자. 다만"),
    ],
)
def test_references_and_dates_are_no_joints(before: str, after: str) -> None:
    """What looks like an article, an item or a letter inside a sentence."""
    assert cut(before, after)[1] not in {Joint.SECTION, Joint.PARAGRAPH, Joint.ITEM, Joint.SUBITEM}


def test_a_better_joint_is_preferred_to_a_later_one() -> None:
    """A paragraph of a statute stays together with its items, where it is no shorter than half of what fits."""
    text = FILLER * 2 + "정한다.\n② 다음과 같다.\n 1. 갑\n 2. 을\n 3. 병"
    assert best_cut(text, 0, len(text) - 1) == (text.index("②"), Joint.PARAGRAPH)


def test_what_announces_a_list_stays_with_its_first_item() -> None:
    """`다음과 같다.` and `1. 갑` are parted only where a sentence would be otherwise."""
    assert cut("정한다. ", "장관은 다음과 같다.\n 1. 갑을병") == ("장관은 다음과 같다.\n 1. 갑을병", Joint.SENTENCE)
    assert cut("다음과 같다.\n ", "1. 갑을병") == ("1. 갑을병", Joint.LINE)


@pytest.mark.parametrize("text", ["그는 (간다. 남는다) 했다", '그는 "나는 간다. 너는" 했다', "그는 “간다. 너는” 했다"])
def test_an_end_in_brackets_or_quotes_is_not_sure(text: str) -> None:
    """The sentence round it goes on."""
    assert last_sure_end(text, 0, 1, len(text)) is None


def test_the_date_of_an_amendment_belongs_to_the_sentence_before() -> None:
    """`<개정 2015.1.6>` begins no sentence."""
    text = "장관은 이를 명할 수 있다. <개정 2015.1.6>"
    assert last_sure_end(text, 0, 1, len(text)) is None


def test_kiwi_finds_sentences_without_full_stops() -> None:
    """As people write in chats and reviews."""
    text = "오늘 영화 봤는데 진짜 재밌었어요 다음에 또 볼 거예요"
    place = last_end_by_kiwi(text, 5, len(text) - 3)
    assert text[place:] == "다음에 또 볼 거예요"


def test_kiwi_is_not_asked_about_texts_without_endings() -> None:
    """Lists and English have no end that it could find."""
    assert last_end_by_kiwi("서울 부산 대구 인천 광주 대전", 3, 12) is None


def test_headings_of_markdown_and_of_statutes_are_ordered() -> None:
    """Parts, chapters and articles are headings; references at the beginning of a line are none."""
    text = "# 법\n제1편 총칙\n제1장 목적\n제1조(목적) 이 법은\n제57조(재판의 공개) 제2항에\n제2조(정의)\n① 이"
    assert [(heading.level, heading.title) for heading in headings_of(text)] == [
        (1, "법"),
        (7, "제1편 총칙"),
        (8, "제1장 목적"),
        (11, "제1조(목적)"),
        (11, "제2조(정의)"),
    ]


def test_the_outline_ends_what_stands_beside_a_heading() -> None:
    """Under `## 다` stands no `## 나`, and a chunk that begins with a heading has it in its own text."""
    text = "# 가\n## 나\n글\n## 다\n글"
    outline = Outline(text)
    assert [h.title for h in outline.move_to(text.index("글"))] == ["가", "나"]
    assert [h.title for h in outline.move_to(text.index("## 다"))] == ["가"]
    assert [h.title for h in outline.move_to(len(text))] == ["가", "다"]


def test_a_place_within_a_cell_has_its_name() -> None:
    """At the beginning of a cell its name is in the text already."""
    row = "이름: 개똥이, 국어: 89 점, 비고: 참"
    assert cell_name(row, row.index("점")) == "국어:"
    assert cell_name(row, row.index("국어")) == ""
    assert cell_name("참고: 이것은 줄글이다", 8) == ""
