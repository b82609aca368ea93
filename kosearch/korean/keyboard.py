"""The two-set Korean keyboard (두벌식, KS X 5002): which keys make which syllables, and the other way round."""

import re

_KEYS = "rRseEfaqQtTdwWczxvg" + "koiOjpuPhynbml"
_KEY_JAMO = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ" + "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅛㅜㅠㅡㅣ"

# In the order of their numbers within a syllable. Source: The Unicode Standard, section 3.12.
_INITIALS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
_VOWELS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
_FINALS = "ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"
_FIRST_SYLLABLE = ord("가")

# Jamo that take two keys.
_COMPOUNDS = {
    "ㅘ": "ㅗㅏ", "ㅙ": "ㅗㅐ", "ㅚ": "ㅗㅣ", "ㅝ": "ㅜㅓ", "ㅞ": "ㅜㅔ", "ㅟ": "ㅜㅣ", "ㅢ": "ㅡㅣ",
    "ㄳ": "ㄱㅅ", "ㄵ": "ㄴㅈ", "ㄶ": "ㄴㅎ", "ㄺ": "ㄹㄱ", "ㄻ": "ㄹㅁ", "ㄼ": "ㄹㅂ", "ㄽ": "ㄹㅅ", "ㄾ": "ㄹㅌ",
    "ㄿ": "ㄹㅍ", "ㅀ": "ㄹㅎ", "ㅄ": "ㅂㅅ",
}  # fmt: skip
_PARTS = {parts: compound for compound, parts in _COMPOUNDS.items()}

# Shift changes nothing about a key without a second jamo.
_JAMO_OF_KEY = str.maketrans(
    dict(zip(_KEYS.upper(), _KEY_JAMO, strict=True)) | dict(zip(_KEYS, _KEY_JAMO, strict=True))
)
_KEYS_OF_JAMO = dict(zip(_KEY_JAMO, _KEYS, strict=True))
_KEYS_OF_JAMO |= {compound: _KEYS_OF_JAMO[parts[0]] + _KEYS_OF_JAMO[parts[1]] for compound, parts in _COMPOUNDS.items()}

_KEY_RUN = re.compile("[A-Za-z]+")
_HANGUL_RUN = re.compile("[가-힣ㄱ-ㅣ]+")
# The automaton of an input method: a consonant closes its syllable unless a vowel follows, which takes it over; of two
# that close a syllable together, the vowel takes the second.
_JAMO_SYLLABLE = re.compile(
    f"([{_INITIALS}])"
    f"({'|'.join(parts for parts in _PARTS if parts[0] in _VOWELS)}|[{_VOWELS}])"
    f"((?:{'|'.join(parts for parts in _PARTS if parts[0] in _FINALS)}|[{_FINALS}])(?![{_VOWELS}]))?"
)


def to_keys(text: str) -> str:
    """Return the Latin letters of the keys that type the text; what is neither syllable nor jamo stays as it is."""
    return _HANGUL_RUN.sub(lambda run: "".join(map(_keys, run[0])), text)


def from_keys(text: str) -> str:
    """Return what the Latin letters of the text type on a Korean keyboard; other characters stay as they are.

    Jamo that make no syllable are compatibility jamo, a key each. Undoes `to_keys` for any row of syllables; it does
    not where a syllable is followed by jamo, or where the text has Latin letters of its own.
    """
    return _KEY_RUN.sub(lambda run: compose(run[0].translate(_JAMO_OF_KEY)), text)


def compose(text: str) -> str:
    """Return the text with its compatibility jamo in a row made syllables, as an input method would.

    Jamo that make no syllable stay as they are (ㅋㅋ, ㅠㅠ), and none joins a syllable that is whole already.
    """
    return _JAMO_SYLLABLE.sub(_syllable, text)


def jamo(syllable: str) -> tuple[str, str, str]:
    """Return initial, vowel and final of a syllable as compatibility jamo; the final is empty where there is none."""
    initial_and_vowel, final = divmod(ord(syllable) - _FIRST_SYLLABLE, len(_FINALS) + 1)
    initial, vowel = divmod(initial_and_vowel, len(_VOWELS))
    return _INITIALS[initial], _VOWELS[vowel], _FINALS[final - 1] if final else ""


def _keys(character: str) -> str:
    parts = jamo(character) if character >= "가" else (character,)
    return "".join(_KEYS_OF_JAMO[part] for part in parts if part)


def _syllable(match: re.Match[str]) -> str:
    initial, vowel, final = (_PARTS.get(part, part) for part in match.groups(""))
    number = _INITIALS.index(initial) * len(_VOWELS) + _VOWELS.index(vowel)
    return chr(_FIRST_SYLLABLE + number * (len(_FINALS) + 1) + (_FINALS.index(final) + 1 if final else 0))
