"""Kinds of queries, so that a mean over all of them hides nothing."""

import re
import unicodedata
from collections.abc import Mapping

# kind of division -> its classes in the order they are shown
CLASSES: Mapping[str, tuple[str, ...]] = {
    "length": ("1-2 words", "3-5 words", "6-9 words", "10 and more words"),
    "digits": ("with digits", "without digits"),
    "latin": ("with Latin letters", "without Latin letters"),
    "form": ("question", "keywords"),
    "relevant": ("1 relevant document", "2-4 relevant documents", "5 and more relevant documents"),
}
_LENGTHS = (2, 5, 9)
_RELEVANT = (1, 4)

_LATIN = re.compile(r"[A-Za-z]")
# At the beginning of a word, with what may follow them: 어디서, 누구의, 무엇인가. 왜 alone: 왜구 is no question.
_QUESTION_WORDS = re.compile(
    r"(?:^|\s)(?:무엇|무슨|뭐|뭘|누구|누가|어디|언제|어느|어떤|어떻게|얼마|몇(?!몇)|왜(?=\s|$))"
)
_WITH_FINAL_N = "".join(chr(code) for code in range(0xAC00, 0xD7A4) if (code - 0xAC00) % 28 == 4)
# A bare -ㄴ가 ends nouns, too (단가, 전문가): of these only 는가, 은가 and 던가 are endings for sure.
_ENDINGS = re.compile(rf"(?:[는은던]가|[{_WITH_FINAL_N}]가요|나요|까요?|[느으이]냐|는지)[.!\s]*$")


def classes_of(text: str, relevant_count: int | None = None) -> dict[str, str]:
    """Return the class of a query by kind of division; without a number of relevant documents not by that."""
    found = {
        "length": CLASSES["length"][_step(len(text.split()), _LENGTHS)],
        "digits": CLASSES["digits"][not any(character.isdigit() for character in text)],
        "latin": CLASSES["latin"][_LATIN.search(text) is None],
        "form": CLASSES["form"][not is_question(text)],
    }
    if relevant_count is not None:
        found["relevant"] = CLASSES["relevant"][_step(relevant_count, _RELEVANT)]
    return found


def is_question(text: str) -> bool:
    """Tell whether a query asks: by a question mark at its end, a question word, or the ending of its last verb."""
    composed = unicodedata.normalize("NFC", text).strip()
    return composed.endswith(("?", "？")) or bool(_QUESTION_WORDS.search(composed) or _ENDINGS.search(composed))


def _step(value: int, limits: tuple[int, ...]) -> int:
    return sum(value > limit for limit in limits)
