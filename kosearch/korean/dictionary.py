"""Words of the user's own: which there may be, how they stand in a file, which texts hold them.

The analyser cuts a name that it does not know: 당근마켓 becomes 당근 and 마켓, or stays whole in another sentence. One
that is in the dictionary always stays whole, in the documents and in the queries.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kosearch.errors import InvalidRequestError

MAX_FORM_CHARACTERS = 64
MAX_WORDS_A_CALL = 10_000
DEFAULT_TAG = "NNP"
# Sejong tags whose words a search keeps and whose form never changes: nouns, names, foreign words, Chinese characters,
# adverbs. A verb's would (곱다, 고와), so that nobody could tell which texts hold it.
TAGS = ("NNG", "NNP", "SL", "SH", "MAG")
_FOREIGN_TAGS = ("SL", "SH")
_HANGUL = re.compile(r"[\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff]")
_LATIN = re.compile(r"[A-Za-z]")
# Of control and format characters, halves of surrogate pairs, code points for private use or without meaning.
_UNREADABLE = "C"
# To look for each of a few forms by itself is quicker than to look at every place of a text.
_FEW_FORMS = 50


@dataclass(frozen=True, slots=True, order=True)
class UserWord:
    """A word as the analyser is to have it. `tag`: what kind of word it is, one of `TAGS`."""

    form: str
    tag: str = DEFAULT_TAG


@dataclass(frozen=True, slots=True)
class Dictionary:
    """All words of the user, by form. `version` goes up with each change; 0: nothing was ever put into it."""

    version: int = 0
    words: tuple[UserWord, ...] = ()


@dataclass(frozen=True, slots=True)
class DictionaryChange:
    """What became of a change. `version`: of the dictionary since then; `words`: how many are other than before."""

    version: int
    words: int


def check_word(form: str, tag: str = DEFAULT_TAG) -> UserWord:
    """Return the word in NFC. Raises InvalidRequestError, saying what is wrong with it."""
    form = unicodedata.normalize("NFC", form)
    fault = _fault_of_form(form) or _fault_of_tag(form, tag)
    if fault:
        raise InvalidRequestError(f"{form[:MAX_FORM_CHARACTERS]!r} cannot be a word of the dictionary: {fault}")
    return UserWord(form, tag)


def read_word_file(path: Path) -> list[UserWord]:
    """Return the words of a UTF-8 file: one a line, a tag behind a tab where it is not NNP, comments behind `#`.

    Each form once; the last line counts. Raises InvalidRequestError naming file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"{path} is no UTF-8 (byte {error.start}); save it as UTF-8") from error
    words = {word.form: word for word in _words_of_lines(path, text.split("\n"))}
    if not words:
        raise InvalidRequestError(f"{path} holds no word; write one a line")
    return list(words.values())


def spellings(form: str) -> tuple[str, ...]:
    """Return the form as texts may spell it: the analyser tells capital letters from small ones, a reader does not."""
    readable = unicodedata.normalize("NFKC", form)
    if not _LATIN.search(readable):
        return (readable,)
    return tuple(dict.fromkeys((readable, readable.lower(), readable.upper(), readable.capitalize())))


def fold(text: str) -> str:
    """Return a text so that it holds every folded form that the analyser may find in it.

    Without capital letters and white space, which it may pass over within a word, and in single letters of the Korean
    alphabet, for a particle may have been drawn into the last syllable: 꼬부긴 holds 꼬부기.
    """
    return "".join(unicodedata.normalize("NFKD", text).casefold().split())


class FormFinder:
    """Tells which texts hold one of some forms, whatever their case, spaces and width."""

    def __init__(self, forms: Iterable[str]) -> None:
        self._forms = sorted({fold(form) for form in forms})
        self._head_length = min(map(len, self._forms), default=0)
        self._by_head: dict[str, list[str]] = {}
        for form in self._forms:
            self._by_head.setdefault(form[: self._head_length], []).append(form)

    def is_in(self, *texts: str) -> bool:
        """Tell whether one of the texts holds one of the forms."""
        find = self._is_one_in if len(self._forms) <= _FEW_FORMS else self._is_any_in
        return any(find(fold(text)) for text in texts)

    def _is_one_in(self, folded: str) -> bool:
        return any(form in folded for form in self._forms)

    def _is_any_in(self, folded: str) -> bool:
        length, by_head = self._head_length, self._by_head
        return any(
            folded.startswith(form, start)
            for start in range(len(folded) - length + 1)
            for form in by_head.get(folded[start : start + length], ())
        )


def _words_of_lines(path: Path, lines: Sequence[str]) -> Iterator[UserWord]:
    for number, line in enumerate(lines, start=1):
        content = line.strip("\r\n ")
        if not content or content.startswith("#"):
            continue
        form, _, tag = content.partition("\t")
        tag = tag.partition("#")[0].strip() or DEFAULT_TAG
        try:
            yield check_word(form.strip(), tag)
        except InvalidRequestError as error:
            raise InvalidRequestError(f"{path}, line {number}: {error}") from error


def _fault_of_form(form: str) -> str:
    if not form:
        return "it is empty"
    if len(form) > MAX_FORM_CHARACTERS:
        return f"it has {len(form):,} characters; {MAX_FORM_CHARACTERS} are possible"
    if any(unicodedata.category(character).startswith(_UNREADABLE) for character in form):
        return "it holds a control character, or one that nobody can read"
    if " ".join(form.split()) != form:
        return "it has white space at an end, or other than single spaces within"
    if not any(character.isalnum() for character in form):
        return "it holds no letter and no digit"
    return ""


def _fault_of_tag(form: str, tag: str) -> str:
    if tag not in TAGS:
        return f"its tag is {tag!r}; choose one of {', '.join(TAGS)}"
    if tag in _FOREIGN_TAGS and _HANGUL.search(form):
        # Kiwi would read 한국를 for 한국을: it does not look at the last syllable of a foreign word.
        return f"{tag} stands for words without Korean letters; choose NNP for a name, NNG for another noun"
    return ""
