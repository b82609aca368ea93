"""Queries as people type them in a hurry: each kind of damage alone, the same for the same seed."""

import unicodedata
import zlib
from collections.abc import Callable, Mapping

import numpy as np

from kosearch.evaluation.korean_texts import particles_of, without_particles
from kosearch.korean.keyboard import to_keys

_FIRST_SYLLABLE, _LAST_SYLLABLE = 0xAC00, 0xD7A3
_VOWELS, _FINALS = 21, 28
# In the order of their numbers within a syllable. Source: The Unicode Standard, section 3.12.
_INITIALS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
_MEDIALS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
# Letters of keys beside or below each other on the two-set keyboard (KS X 5002), and those that differ by Shift.
_NEIGHBOURS = {
    "ㄱ": "ㄷㅅㄹ", "ㄲ": "ㄱ", "ㄴ": "ㅁㅇㅌ", "ㄷ": "ㅈㄱㅇ", "ㄸ": "ㄷ", "ㄹ": "ㅇㅎㄱ", "ㅁ": "ㄴㅂㅋ",
    "ㅂ": "ㅈㅁ", "ㅃ": "ㅂ", "ㅅ": "ㄱㅎ", "ㅆ": "ㅅ", "ㅇ": "ㄴㄹㄷ", "ㅈ": "ㅂㄷㄴ", "ㅉ": "ㅈ", "ㅊ": "ㅌㅍㅇ",
    "ㅋ": "ㅌㅁ", "ㅌ": "ㅋㅊㄴ", "ㅍ": "ㅊㄹ", "ㅎ": "ㄹㅅ",
    "ㅏ": "ㅓㅣㅑ", "ㅐ": "ㅔㅑㅣ", "ㅑ": "ㅕㅐㅏ", "ㅒ": "ㅐ", "ㅓ": "ㅗㅏㅕ", "ㅔ": "ㅐ", "ㅕ": "ㅛㅑㅓ", "ㅖ": "ㅔ",
    "ㅗ": "ㅓㅛ", "ㅘ": "ㅗㅏ", "ㅙ": "ㅚㅘ", "ㅚ": "ㅗㅙ", "ㅛ": "ㅕㅗ", "ㅜ": "ㅠㅡㅓ", "ㅝ": "ㅜㅓ", "ㅞ": "ㅝㅟ",
    "ㅟ": "ㅜㅣ", "ㅠ": "ㅜㅗ", "ㅡ": "ㅜㅏ", "ㅢ": "ㅡㅣ", "ㅣ": "ㅏㅐ",
}  # fmt: skip
# Another particle in the same place: topic for subject, and so on.
_OTHER_PARTICLES = {
    "은": "이", "는": "가", "이": "은", "가": "는", "을": "은", "를": "는", "과": "이랑", "와": "랑", "의": "에",
    "에서": "에", "에": "에서", "으로": "에", "로": "에", "에게": "한테", "한테": "에게", "께서": "이",
    "부터": "에서", "까지": "에", "도": "는", "만": "도",
}  # fmt: skip

Damage = Callable[[str, np.random.Generator], str]


def damage(query: str, kind: str, seed: int = 0) -> str | None:
    """Return the query in NFC damaged in this way (a name of DAMAGES), None when it has nothing to be damaged so."""
    intact = " ".join(unicodedata.normalize("NFC", query).split())
    # By the query itself: what happens to it does not depend on the queries around it.
    generator = np.random.default_rng([seed, zlib.crc32(f"{kind}\0{intact}".encode())])
    damaged = DAMAGES[kind](intact, generator)
    return damaged if damaged.strip() and damaged != intact else None


def _no_spaces(query: str, _generator: np.random.Generator) -> str:
    return query.replace(" ", "")


def _typo(query: str, generator: np.random.Generator) -> str:
    """Put one wrong letter, of a neighbouring key, into one syllable: its consonant or its vowel."""
    places = [place for place, character in enumerate(query) if _is_syllable(character)]
    if not places:
        return query
    place = int(generator.choice(places))
    return query[:place] + _with_wrong_letter(query[place], generator) + query[place + 1 :]


def _decomposed(query: str, _generator: np.random.Generator) -> str:
    """NFD, as macOS writes file names: a syllable is two or three code points."""
    return unicodedata.normalize("NFD", query)


def _keyboard_slip(query: str, _generator: np.random.Generator) -> str:
    return to_keys(query)


def _particles_removed(query: str, _generator: np.random.Generator) -> str:
    return without_particles(query)


def _particles_changed(query: str, _generator: np.random.Generator) -> str:
    for particle in reversed(particles_of(query)):
        other = _OTHER_PARTICLES.get(particle.form, particle.form)
        query = query[: particle.start] + other + query[particle.end :]
    return query


def _word_left_out(query: str, generator: np.random.Generator) -> str:
    """Leave out one word; not of two, of which the other might be all there is to find."""
    words = query.split()
    if len(words) < 3:
        return query
    del words[int(generator.integers(len(words)))]
    return " ".join(words)


DAMAGES: Mapping[str, Damage] = {
    "no_spaces": _no_spaces,
    "typo": _typo,
    "nfd": _decomposed,
    "keyboard_slip": _keyboard_slip,
    "particles_removed": _particles_removed,
    "particles_changed": _particles_changed,
    "word_left_out": _word_left_out,
}


def _is_syllable(character: str) -> bool:
    return _FIRST_SYLLABLE <= ord(character) <= _LAST_SYLLABLE


def _with_wrong_letter(syllable: str, generator: np.random.Generator) -> str:
    initial, rest = divmod(ord(syllable) - _FIRST_SYLLABLE, _VOWELS * _FINALS)
    vowel, final = divmod(rest, _FINALS)
    if generator.random() < 0.5:
        initial = _neighbour(_INITIALS, initial, generator)
    else:
        vowel = _neighbour(_MEDIALS, vowel, generator)
    return chr(_FIRST_SYLLABLE + (initial * _VOWELS + vowel) * _FINALS + final)


def _neighbour(letters: str, place: int, generator: np.random.Generator) -> int:
    options = [letters.index(letter) for letter in _NEIGHBOURS[letters[place]] if letter in letters]
    return int(generator.choice(options))
