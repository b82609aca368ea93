"""Queries as they are typed, and as they are read."""

import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kosearch.korean.keyboard import to_keys
from kosearch.korean.kiwi import shared_kiwi
from kosearch.korean.reading import MAX_READ_CHARACTERS, QueryReader, ReadingOptions
from kosearch.text import normalise


@pytest.fixture(scope="session")
def reader() -> QueryReader:
    """A reader with the real Kiwi, which the process loads once."""
    return QueryReader(shared_kiwi())


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("dkssudgktpdy", "안녕하세요"),
        ("rnrxh rufwjd", "국토 결정"),
        ("gksrnr rudwp tjdwkdfbf", "한국 경제 성장률"),
        ("서버 tjfwjd 방법", "서버 설정 방법"),  # a single word of several
        ("python tjfcl", "python 설치"),
        ("rjator결과", "검색결과"),  # a part of a word
        ("2024sus dPtks?", "2024년 예산?"),
        ("dl dudghk", "이 영화"),  # a syllable next to a sure slip
    ],
)
def test_korean_typed_on_the_latin_layout_is_read_as_korean(reader: QueryReader, typed: str, meant: str) -> None:
    """What was typed stays findable by word."""
    query = reader.read(typed)
    assert (query.text, query.changes) == (meant, ("keyboard",))
    slips = [word.strip("?").removeprefix("2024").removesuffix("결과") for word in typed.split() if word not in meant]
    assert set(slips) <= set(query.lexical_text.split())


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("ㅗ디ㅣㅐ", "hello"),
        ("햐소ㅕㅠ", "github"),
        ("ㅔㅛ쇄ㅜ 설치", "python 설치"),
        ("ㅗㅐㅈ 새 ㅑㅜㄴㅅ미ㅣ ㅔㅛ쇄ㅜ", "how to install python"),
    ],
)
def test_latin_typed_on_the_korean_layout_is_read_as_latin(reader: QueryReader, typed: str, meant: str) -> None:
    """A single word, or all of them, whole syllables among them, too."""
    query = reader.read(typed)
    assert (query.text, query.changes) == (meant, ("keyboard",))


@pytest.mark.parametrize(
    "query",
    [
        *("dog", "so", "goal 장면", "work", "thrown", "xml 파싱", "GPU 서버", "sql", "the", "to do", "duck"),
        *("TV 시청률", "FIFA 월드컵", "http", "don't", "3kg", "user_id", "dkssud@naver.com", "a.dkssud.kr", "/dkssud"),
        *("ㅋㅋㅋ 재밌다", "굿ㅋㅋ", "ㅠㅠ그냥", "대박ㅡㅡ", "ㅇㅈ", "ㄹㅇ 실화", "ㅎㄷㄷ"),
        *(
            "대통령 비서실장은 누구인가?",
            "페이스북에 올린 글",
            "뉘르부르크링은 어디에 있나",
            "알렉산더 헤이그의 생년월일은?",
            "방시혁이 세운 회사",
            "말하지 않되 듣는다",
            "웤챜ㅋ",
        ),
    ],
)
def test_a_query_without_slips_is_read_as_it_is(reader: QueryReader, query: str) -> None:
    """Latin words that spell syllables, addresses, feelings, names that Kiwi does not know."""
    assert (reader.read(query).text, reader.read(query).changes) == (query, ())


def test_a_doubtful_word_is_read_both_ways_by_the_search_by_word_only(reader: QueryReader) -> None:
    """Syllables that are a word, letters that are a word, a slip that may be of either of two words."""
    assert reader.read("so").lexical_text == "so 내"
    assert reader.read("방식으ㅣ").lexical_text == "방식으ㅣ 방식의"
    assert reader.read("ㄴㄷㄱㅍㄷㄱ").lexical_text == "ㄴㄷㄱㅍㄷㄱ server"


def test_jamo_in_a_row_are_composed(reader: QueryReader) -> None:
    """They come from input methods that were switched off, and from NFD cut into pieces."""
    assert reader.read("ㅎㅏㄴㄱㅡㄹ ㅁㅏㅈㅊㅜㅁㅂㅓㅂ").text == "한글 맞춤법"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("아버지가방에들어가신다", "아버지가 방에 들어가신다"),
        ("아 버 지 가 방 에 들 어 가 신 다", "아버지가 방에 들어가신다"),
        ("전세사기피해자지원은어디서신청하나요", "전세 사기 피해자 지원은 어디서 신청하나요"),
        ("대한민국의수도", "대한민국의 수도"),  # one joint, and no space in the query
        ("1989년에노벨상을받은사람은 누구인가", "1989년에 노벨상을 받은 사람은 누구인가"),  # a part of the query
    ],
)
def test_spaces_are_put_where_words_begin(reader: QueryReader, typed: str, meant: str) -> None:
    """Runs of several words, and words written syllable by syllable."""
    query = reader.read(typed)
    assert (query.text, query.lexical_text, query.changes) == (meant, meant, ("spacing",))


@pytest.mark.parametrize(
    "query", ["부가가치세신고기한", "국가인권위원회", "지명수배된 사람", "세 번째 책", "한 번 더 그 곳에"]
)
def test_words_that_may_be_written_together_stay_together(reader: QueryReader, query: str) -> None:
    """Compounds, and the few short words in a row that Korean has."""
    assert reader.read(query).text == query


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("대하ㅏㄱ교는 어디", "대학교는 어디"),  # doubled
        ("환불 규젇", "환불 규정"),  # beside the right key
        ("고등ㅎ가교를", "고등학교를"),  # swapped
        ("함ㄲ 가는 여행", None),  # missing at the end: too little is left
        ("됬다", "됐다"),
        ("역활", "역할"),
    ],
)
def test_a_slip_within_a_word_is_mended_where_one_word_is_far_likelier(
    reader: QueryReader, typed: str, meant: str | None
) -> None:
    """And left alone where none is."""
    query = reader.read(typed)
    assert (query.text, "typos" in query.changes) == (meant or typed, meant is not None)


def test_each_step_can_be_left_out(reader: QueryReader) -> None:
    """The other steps still run."""
    assert reader.read("dkssud", ReadingOptions(keeps_keyboard=True)).text == "dkssud"
    assert reader.read("ㅇㅏㄴ", ReadingOptions(keeps_keyboard=True, keeps_typos=True)).text == "ㅇㅏㄴ"
    assert reader.read("아버지가방에됬다", ReadingOptions(keeps_spacing=True)).text == "아버지가방에됐다"
    assert reader.read("ㅇㅏㄴ녕 됬다", ReadingOptions(keeps_typos=True)).text == "안녕 됬다"


@pytest.mark.parametrize(
    ("typed", "text", "lexical_text"),
    [
        ("ＧＰＵ　１０", "GPU 10", "GPU 10 ＧＰＵ １０"),
        ("ｱﾊﾟｰﾄ", "アパート", "アパート ｱﾊﾟｰﾄ"),
        ("ﾡￂﾤ", "ㄱㅏㄴ", "ㄱㅏㄴ ﾡￂﾤ"),
        ("㈜카카오 ①", "㈜카카오 ①", "㈜카카오 ① (주)카카오 1"),
        ("10㎏ ½", "10㎏ ½", "10㎏ ½ 10kg 1⁄2"),
        ("\u1112\u1161\u11ab\u1100\u1173\u11af", "한글", "한글"),  # NFD
        ("金", "金", "金"),  # a compatibility ideograph, which NFC replaces in stored texts, too
    ],
)
def test_widths_are_the_usual_ones_and_both_spellings_are_found_by_word(
    reader: QueryReader, typed: str, text: str, lexical_text: str
) -> None:
    """Stored texts are NFC, which leaves widths and signs as they are."""
    query = reader.read(typed, ReadingOptions(keeps_keyboard=True, keeps_typos=True))
    assert (query.text, query.lexical_text) == (text, lexical_text)


def test_a_pasted_passage_is_not_read_for_slips(reader: QueryReader) -> None:
    """Above `MAX_READ_CHARACTERS` it was not typed just now."""
    passage = "dkssud " * (MAX_READ_CHARACTERS // 7)
    assert "안녕" in reader.read(passage).text
    assert reader.read(passage + "dkssud").text == normalise(passage + "dkssud")


@pytest.mark.parametrize(
    "query",
    [
        "",
        " ",
        "검색 엔진이 뭐예요 " * 1_000,
        "가" * 40_000,
        "rk" * 20_000,
        "ㄱㅏㄴㅇㅗㅏ" * 1_000,
        "뷁쉙ㅏ" * 66,
        "가ㅏ나ㅓ다ㅣ라 " * 24,
        "👩‍👩‍👧‍👦" * 50,
        "가" + "\u0301" * 199,
        "漢字" * 100,
        "\ufdfa" * 190,
        "가\u3164나\u115f\u1160다",
        "\x00\x1b[0m",
    ],
)
def test_hostile_queries_are_read_within_seconds(reader: QueryReader, query: str) -> None:
    """Whatever a query is, it becomes a text that is no longer than a few times its own."""
    started = time.process_time()
    read = reader.read(query)
    assert time.process_time() - started < 3
    assert len(read.lexical_text) <= 20 * len(query)


_PIECES = st.sampled_from(
    [
        "가",
        "검색",
        "ㅏ",
        "ㄱ",
        "ㅋㅋ",
        "rk",
        "dkssud",
        "dog",
        " ",
        "\u1112",
        "\u11ab",
        "漢",
        "①",
        "ﾡ",
        "\u0301",
        "\u200d",
        "👩",
    ]
)


@settings(max_examples=300)
@given(st.text(max_size=30) | st.lists(_PIECES, max_size=20).map("".join))
def test_any_text_is_read(text: str) -> None:
    """Lone surrogates included, which no other text may hold afterwards; the text for words begins with the other."""
    query = QueryReader(shared_kiwi()).read(text + "\ud800")
    assert query.text.encode("utf-8").decode("utf-8") == query.text == normalise(query.text)
    assert query.lexical_text.startswith(query.text)


@pytest.mark.parametrize("options", [ReadingOptions(keeps_spacing=True), ReadingOptions(keeps_typos=True)])
def test_what_was_read_is_read_as_it_is(reader: QueryReader, options: ReadingOptions) -> None:
    """Reading changes nothing in its own result."""
    typed: Sequence[str] = (
        "dkssud",
        "ㅗ디ㅣㅐ",
        "아버지가방에들어가신다",
        "대하ㅏㄱ교는",
        to_keys("한국의 수도는 어디인가"),
    )
    for query in typed:
        once = reader.read(query, options).text
        assert reader.read(once, options).text == once
