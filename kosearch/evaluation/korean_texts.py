"""Words, particles and sentences of Korean text, by Kiwi."""

from collections.abc import Sequence
from dataclasses import dataclass

from kosearch.korean.kiwi import shared_kiwi

# Common nouns, names, Latin words. Source: the tag set of Kiwi, after that of the Sejong corpus.
_CONTENT_TAGS = frozenset({"NNG", "NNP", "SL"})
# Suffixes stay out: 의 in 민주주의 is none, and 과 in 생활과학 neither; Kiwi tells them from particles.
_PARTICLE_INITIAL = "J"
_SHORTEST_WORD = 2


@dataclass(frozen=True, slots=True)
class Particle:
    """A particle in a text: `text[start:end] == form`."""

    form: str
    start: int
    end: int


def particles_of(text: str) -> list[Particle]:
    """Return the particles of a text in NFC, in their order; without those grown into their noun, as 난 (나는)."""
    found = [
        Particle(token.form, token.start, token.end)
        for token in shared_kiwi().tokenize(text)
        if token.tag.startswith(_PARTICLE_INITIAL)
    ]
    return [particle for particle in found if text[particle.start : particle.end] == particle.form]


def content_words_of(text: str) -> list[str]:
    """Return the nouns, names and Latin words of two and more characters, in their order, as often as they stand."""
    return [
        token.form
        for token in shared_kiwi().tokenize(text)
        if token.tag in _CONTENT_TAGS and len(token.form) >= _SHORTEST_WORD
    ]


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a text."""
    return [sentence.text for sentence in shared_kiwi().split_into_sents(text, return_sub_sents=False)]


def without_particles(text: str, particles: Sequence[Particle] | None = None) -> str:
    """Return a text in NFC without its particles, or without these of them."""
    kept, end = [], 0
    for particle in particles_of(text) if particles is None else particles:
        kept.append(text[end : particle.start])
        end = particle.end
    return " ".join("".join([*kept, text[end:]]).split())
