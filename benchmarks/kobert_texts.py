"""Texts that are hard to tokenise as KoBERT's reference does: written by us, so that they may be stored in a test."""

import itertools
import unicodedata

NUMBERS = [
    "1,000원",
    "12,345,678명",
    "3,",
    "3, 4, 5",
    "0,5와 1,5",
    "1,000,000,000",
    "100,000원과 3,000원정도",
    "제III장 제IV절 VIII. XIII",
    "1.5% 2.25배 -3.7도",
    "010-1234-5678",
    "2024년 3월 1일(금) 09:00~18:00",
    "½ ⅓ ¼컵, ² ³ ㎡ ㎏ ㎞",
    "٣,٤ १२३, ๑๒๓,",
    "🯱🯲🯳, 𝟏𝟐𝟑, ①②③, １２３，４５６",
    "111 222 0000 00000 000000",
]
# `0 00` and `00 0` are equally probable; which of them the reference takes hangs on rounding (see kobert_parity.py).
TIES = ["2,000년 된 나무", "옛날 옛적 2,000년 된 나무"]
HANJA = [
    "大韓民國은 民主共和國이다.",
    "漢字와 한글",
    "金(김)씨와 李(이)씨, 朴씨",
    "樂天 악천 樂\uf914\uf95c",
    "人事가 萬事다",
    "東京·北京·臺灣",
    "ひらがな カタカナ ﾊﾝｶｸ",
]
EMOJI = [
    "좋아요 😀👍🏽",
    "가족 👨\u200d👩\u200d👧\u200d👦 여행",
    "🇰🇷 대한민국",
    "하트 ❤\ufe0f ♥ ♡",
    "1\ufe0f\u20e3 번",
    "ㅋㅋㅋㅋ ㅎㅎ ㅠㅠ ^^;",
    "ㄱㅏㄴㅏㄷㅏ ㄳ ㅄ 가ㄳ",
    "(╯°□°)╯︵ ┻━┻",
]
SPACES = [
    "",
    " ",
    "   \t\n ",
    " 앞뒤 공백 ",
    "여러   칸\t탭\n줄\r\n바꿈",
    "nbsp\u00a0en\u2002em\u2003thin\u2009hair\u200a전각\u3000좁은\u202f수학\u205f끝",
    "폭\u200b없는\u200c공\u200d백\u2060들\ufeff끝",
    "\ufeff맨 앞의 순서 표시",
    "\u1680오검\u180e몽골\u2028줄\u2029문단\u0085다음",
    "수직\x0b탭 폼\x0c피드 \x1c파일\x1d그룹\x1e레코드\x1f단위",
    "밑줄▁조각 ▁▁ 앞▁",
    "¨ ´ ¸ ‾ 홀로 선 부호",
]
CONTROLS = [
    "널\x00문자",
    "벨\x07백스페이스\x08지움\x7f",
    "\x01\x02\x03",
    "소프트\u00ad하이픈",
    "방향\u200e왼\u200f오\u202a끼움\u202c끝",
    "대체\ufffd문자 개체\ufffc",
    "사설\ue000영역\uf8ff",
    "비문자\uffff\U0010ffff",
]
WIDTHS = [
    "ＡＢＣ ａｂｃ １２３！？",
    "（전각 괄호）［대괄호］｛중괄호｝",
    "～물결〜 ∼ ~ ￣",
    "￦1,000 ₩1,000 ＄5",
    "㈜회사 ㉠㉡ ㈀ ㋿ ㍿",
    "ﬁ ﬂ ﬀ ŀ ŉ ǆ",
    "℃ ℡ ™ © ® № ℓ",
    "ﾡﾢﾤ ￂￃￄ",
]
ACCENTS = [
    "café naïve Ångström Đà Nẵng",
    "cafe\u0301 o\u0308 a\u0323\u0302",
    "é\u0e31 a\u0e31 가\u0301나\u0323다",
    "각\u0301\u0327\u0323",
    "हिन्दी தமிழ் ไทย עִבְרִית العَرَبِيَّة",
    "Ελληνικά Русский Українська й ё",
    "İstanbul ıIiİ ß ẞ ſ",
    "x\u0300\u0301\u0302\u0303\u0304\u0305",
    "ᄒᆞᆫ글 ᄀᆞᄅᆞᄎᆞᆷ ᅟᅠ \u3164 \u115f\u1160",
]
PUNCTUATION = [
    ".",
    ",",
    "?!",
    "...",
    "…",
    "......",
    "-",
    "--",
    "----------------------------------",
    "·",
    "ㆍ",
    "•",
    "( )",
    "()[]{}<>《》「」『』",
    '"',
    "'",
    "''",
    "``",
    "```",
    "''''",
    "'''",
    "``따옴표''",
    "“둥근” ‘따옴표’ ‚아래‛ „독일‟",
    "″초 ′분 ＇＇전각",
    "\"큰따옴표\", '작은따옴표'.",
    "a,b ,c, d",
    ",,, 1,, 2,,3",
    "&#34; &amp; <br/> http://example.com/?q=가나&x=1#y",
    "name.surname@example.co.kr",
    "C:\\Users\\이름 /usr/local/bin",
    "#해시태그 @멘션 $변수 %d",
]
LATIN = [
    "iPhone 15 Pro와 Galaxy S24",
    "KoBERT KOBERT kobert KoBert",
    "LTE, TV, USB-C, e-mail, WiFi",
    "The quick brown fox jumps over the lazy dog.",
    "AaBbCc ÀÁÂ àáâ",
    "서울Seoul서울 10km/h 3D프린터",
    "antidisestablishmentarianism",
    "HTML5와 CSS3, C++와 C#",
]
SPECIAL = [
    "[CLS]",
    "[SEP] [PAD][PAD] [MASK]",
    "가[CLS]나 [SEP]다",
    "앞 [MASK] 뒤[MASK]끝",
    "[UNK] 가[UNK]나",
    "［CLS］ 가［CLS］나 ［SEP］x［SEP］",
    "［UNK］ ［PAD］ ［MASK］ 뒤［MASK］끝",
    "[ÚNK] [ĆLS] [Ｃ\u0301LS]",
    "[cls] [Mask] [CLS [SEP",
    "<s> </s> <unk> <pad> <mask>",
    "[[CLS]] [UNK]] [[UNK]",
    " [CLS]  [SEP] ",
]
SENTENCES = [
    "한국어 모델을 공유합니다.",
    "한 남자가 파스타를 먹는다.",
    "고릴라 의상을 입은 누군가가 드럼을 연주하고 있다.",
    "치타가 들판을 가로질러 먹이를 쫓는다.",
    "오늘 서울의 낮 최고 기온은 섭씨 31도까지 오르겠습니다.",
    "정부는 내년부터 청년 월세 지원을 확대하기로 했다.",
    "그는 어제 도서관에서 빌린 책을 아직 다 읽지 못했다.",
    "국회는 본회의를 열어 예산안을 의결하였다.",
    "배송이 너무 늦어서 환불하고 싶은데 어떻게 해야 하나요?",
    "할머니께서 끓여 주신 된장찌개가 제일 맛있었어요!",
    "음주운전으로 면허가 취소된 사람은 1년이 지나야 다시 응시할 수 있다.",
    "뷁쀍쒧 같은 글자는 사전에 없다.",
    "조선 세종 25년에 훈민정음이 창제되었다.",
    "이 논문은 문장 임베딩을 학습하는 새로운 방법을 제안한다.",
    "주식회사 가나다는 3분기 매출이 전년보다 12.5% 늘었다고 밝혔다.",
    "비가 오는 날에는 파전에 막걸리가 생각난다.",
    "아버지가방에들어가신다",
    "띄어쓰기를하지않은문장도토큰으로나뉜다",
    "물리학에서 힘은 질량과 가속도의 곱이다.",
    "너 지금 어디야?? 빨리 와ㅠㅠ 다들 기다려ㅋㅋㅋ",
    "영화는 초반에 지루하지만 결말이 훌륭하다.",
    "제주도로 가는 첫 비행기는 오전 6시 10분에 출발한다.",
    "강아지가 공원에서 공을 물고 뛰어다닌다.",
    "원고의 청구를 기각한다는 판결이 확정되었다.",
    "프로그램을 설치한 뒤 컴퓨터를 다시 시작하십시오.",
    "봄바람에 벚꽃 잎이 눈처럼 흩날렸다.",
]
_SUBJECTS = ("학생들이", "우리 회사는", "이 제도는", "늙은 어부가", "AI 비서가", "김 교수님께서")
_OBJECTS = ("새로운 규칙을", "1,500개의 상자를", "낡은 그물을", "‘평화’라는 낱말을", "K-POP 공연을")
_PREDICATES = ("만들었다.", "천천히 옮기고 있습니다.", "이해하지 못했나요?", "모두 바꾸어 버렸다!")


def hard_cases() -> list[str]:
    """Every hard case, the decomposed form of each, and two of 10,000 characters."""
    groups = [NUMBERS, HANJA, EMOJI, SPACES, CONTROLS, WIDTHS, ACCENTS, PUNCTUATION, LATIN, SPECIAL, SENTENCES]
    texts = list(itertools.chain.from_iterable(groups))
    decomposed = [unicodedata.normalize("NFD", text) for text in texts]
    return [*texts, *(text for text in decomposed if text not in texts), *TIES, *long_texts()]


def long_texts() -> list[str]:
    """Two texts of 10,000 characters: many words, and one word."""
    return [(" ".join(SENTENCES) * 20)[:10_000], ("띄어쓰기를하지않은문장도토큰으로나뉜다" * 600)[:10_000]]


def sample_texts() -> list[str]:
    """Texts of the stored sample: the hard cases but ties and the longest, and generated sentences."""
    generated = [" ".join(words) for words in itertools.product(_SUBJECTS, _OBJECTS, _PREDICATES)]
    return [text for text in [*hard_cases(), *generated] if len(text) < 1_000 and text not in TIES]


def code_point_texts() -> list[str]:
    """Each character of the assigned planes alone, inside and beside words, and every syllable taken apart."""
    planes = [*range(0xD800), *range(0xE000, 0x30000), *range(0xE0000, 0xE0200)]
    characters = [f"가{c}나 {c}a1{c}{c}2{c}" for c in map(chr, planes)]
    return [*characters, *(unicodedata.normalize("NFD", f"{chr(c)}을") for c in range(0xAC00, 0xD7A4))]
