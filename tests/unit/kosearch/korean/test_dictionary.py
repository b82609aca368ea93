"""Words of the user: which there may be, how they stand in a file, which texts hold them."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kosearch.errors import InvalidRequestError
from kosearch.korean.dictionary import TAGS, FormFinder, UserWord, check_word, fold, read_word_file, spellings
from kosearch.korean.kiwi import kiwi_with, shared_kiwi
from kosearch.korean.morphemes import MorphemeAnalyser

MANY = [f"낱말{number}" for number in range(1000)]


# Words


@pytest.mark.parametrize("form", ["뤼튼", "가", "갤럭시 S24", "C++20", "@골뱅", "2NE1", "損害額", "가" * 64])
def test_a_word_may_be(form: str) -> None:
    assert check_word(form) == UserWord(form, "NNP")


def test_a_word_is_kept_in_nfc() -> None:
    """As all texts are; macOS may have it in letters."""
    assert check_word(unicodedata.normalize("NFD", "뤼튼")) == UserWord("뤼튼")
    assert check_word(unicodedata.normalize("NFD", "가" * 64)).form == "가" * 64


@pytest.mark.parametrize(
    ("form", "fault"),
    [
        ("", "is empty"),
        ("가" * 65, "has 65 characters; 64 are possible"),
        (" 뤼튼", "white space"),
        ("뤼튼\n", "control character"),
        ("갤럭시  S24", "white space"),
        ("갤럭시\u3000S24", "white space"),
        ("뤼\u200b튼", "control character"),
        ("뤼\x00튼", "control character"),
        ("뤼\ud800튼", "control character"),
        ("뤼\ue000튼", "control character"),
        ("!!!", "no letter and no digit"),
        ("🍰", "no letter and no digit"),
    ],
)
def test_no_word_may_be(form: str, fault: str) -> None:
    with pytest.raises(InvalidRequestError, match=fault):
        check_word(form)


@pytest.mark.parametrize("tag", ["", "nnp", "NNPX", "VV", "JKS"])
def test_other_tags_are_refused_with_those_there_are(tag: str) -> None:
    with pytest.raises(InvalidRequestError, match="choose one of NNG, NNP, SL, SH, MAG"):
        check_word("뤼튼", tag)


@pytest.mark.parametrize("tag", ["SL", "SH"])
def test_a_korean_word_is_no_foreign_one(tag: str) -> None:
    """The analyser would look for its particles in vain."""
    assert check_word("iPhone15", tag) == UserWord("iPhone15", tag)
    with pytest.raises(InvalidRequestError, match="without Korean letters"):
        check_word("갤럭시 S24", tag)


# Files


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "낱말.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_file_is_read(tmp_path: Path) -> None:
    """With comments, tags, either kind of line end, a byte-order mark; of two lines for a form the last one counts."""
    content = "\ufeff# 제품\r\n뤼튼\r\n닥터포헤어\tNNG\r\n\r\n  갤럭시 S24 \niPhone15\t SL  # 영문\nC#\n뤼튼\tNNG"
    assert read_word_file(written(tmp_path, content)) == [
        UserWord("뤼튼", "NNG"),
        UserWord("닥터포헤어", "NNG"),
        UserWord("갤럭시 S24"),
        UserWord("iPhone15", "SL"),
        UserWord("C#"),
    ]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("뤼튼\n\n갤럭시  S24\n", "낱말.txt, line 3: .*white space"),
        ("# 낱말\n뤼튼\tVV\n", "낱말.txt, line 2: .*choose one of"),
        ("뤼튼\tNNP\tNNG\n", "line 1: .*choose one of"),
        ("\n# 없음\n", "holds no word"),
        ("뤼튼".encode("cp949"), "is no UTF-8"),
    ],
)
def test_faults_of_a_file_name_the_line(content: str | bytes, fault: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=fault):
        read_word_file(written(tmp_path, content))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=r"none\.txt cannot be read"):
        read_word_file(tmp_path / "none.txt")
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        read_word_file(tmp_path)


# Which texts hold a word


@pytest.mark.parametrize("others", [[], MANY], ids=["few forms", "many forms"])
@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("뤼튼", "새로 나온 뤼튼을 썼다"),
        ("뤼튼", unicodedata.normalize("NFD", "뤼튼")),
        ("iPhone15", "새 IPHONE15를 샀다"),
        ("iphone15", "ｉＰｈｏｎｅ１５"),
        ("오늘의 집", "오늘의집에서"),
        ("오늘의집", "오늘의 \n 집"),
        ("꼬부기", "꼬부긴 귀엽다"),
        ("카카", "카캅니다"),
    ],
)
def test_a_text_holds_a_word(form: str, text: str, others: list[str]) -> None:
    """Whatever case, width and spaces, and with a particle drawn into its last syllable."""
    finder = FormFinder([*others, form])
    assert finder.is_in("제목", text)
    assert finder.is_in(text, "글")


@pytest.mark.parametrize("others", [[], MANY], ids=["few forms", "many forms"])
@pytest.mark.parametrize("text", ["", "뤼", "뤼트", "튼뤼", "다른 글" * 50])
def test_a_text_does_not_hold_it(text: str, others: list[str]) -> None:
    assert not FormFinder([*others, "뤼튼"]).is_in(text, "")


def test_no_text_holds_no_word() -> None:
    assert not FormFinder([]).is_in("글", "")


@given(st.text("가나각아 aA1", max_size=20), st.lists(st.text("가나아aA1", min_size=1, max_size=3), max_size=80))
def test_both_ways_of_looking_say_the_same(text: str, forms: list[str]) -> None:
    expected = any(fold(form) in fold(text) for form in forms)
    assert FormFinder(forms).is_in(text) is expected
    assert FormFinder([*forms, *MANY]).is_in(text) is expected


# The analyser with words


def terms(analyser: MorphemeAnalyser, text: str) -> list[str]:
    return [term.text for term in analyser.terms(text)]


@pytest.fixture(scope="module")
def analyser() -> MorphemeAnalyser:
    words = [
        ("닥터포헤어", "NNP"),
        ("당근마켓", "NNP"),
        ("iPhone15", "NNP"),
        ("갤럭시 S24", "NNP"),
        ("오늘의 집", "NNG"),
        ("K8s", "SL"),
    ]
    return MorphemeAnalyser(kiwi_with([check_word(*word) for word in words]))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("당근마켓에서 샀다", "당근마켓"),
        ("닥터포헤언 샴푸다", "닥터포헤어"),
        ("iPhone15를", "iphone15"),
        ("IPHONE15를", "iphone15"),
        ("iphone15를", "iphone15"),
        ("Iphone15를", "iphone15"),
        ("ｉＰｈｏｎｅ１５를", "iphone15"),
        ("갤럭시S24를", "갤럭시 s24"),
        ("갤럭시 s24를", "갤럭시 s24"),
        ("오늘의집에서", "오늘의 집"),
        ("k8s에서", "k8s"),
    ],
)
def test_a_word_stays_whole_however_it_is_spelt(text: str, word: str, analyser: MorphemeAnalyser) -> None:
    """Without the dictionary it is cut."""
    assert word in terms(analyser, text)
    assert word not in terms(MorphemeAnalyser(shared_kiwi()), text)


def test_texts_that_hold_no_word_stay_as_they_are(analyser: MorphemeAnalyser) -> None:
    """Bit for bit: they need not be analysed again."""
    plain = MorphemeAnalyser(shared_kiwi())
    finder = FormFinder(["닥터포헤어", "당근마켓", "iPhone15", "갤럭시 S24", "오늘의 집", "K8s"])
    for text in ("고의 또는 과실로 손해를 가한 자는 배상할 책임이 있다.", "갤럭시 노트를 샀다.", "오늘 집에서 iPhone"):
        assert not finder.is_in(text)
        mine, its = (each.document_vector("제목", text) for each in (analyser, plain))
        assert len(mine) > 0
        assert (mine.indices.tobytes(), mine.values.tobytes()) == (its.indices.tobytes(), its.values.tobytes())


def test_without_words_it_is_the_shared_one() -> None:
    assert kiwi_with([]) is shared_kiwi()


def test_the_shared_one_never_learns_words(analyser: MorphemeAnalyser) -> None:
    assert "당근마켓" not in terms(MorphemeAnalyser(shared_kiwi()), "당근마켓")
    assert "당근마켓" in terms(analyser, "당근마켓")


@pytest.mark.parametrize("tag", TAGS)
def test_words_of_every_tag_are_searched_by(tag: str) -> None:
    """A word that a search leaves out would be of no use."""
    form = {"SL": "qzx9", "SH": "損害額額"}.get(tag, "쀓뚫쀓")
    made = MorphemeAnalyser(kiwi_with([check_word(form, tag)]))
    assert form in terms(made, f"우리 {form} 좋다")


def test_spellings_of_a_korean_word_are_itself() -> None:
    assert spellings("뤼튼") == ("뤼튼",)
    assert spellings("iPhone") == ("iPhone", "iphone", "IPHONE", "Iphone")
