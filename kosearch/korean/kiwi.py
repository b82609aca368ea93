"""The morphological analyser: one for a process, for it takes over a second and 300 MiB to load."""

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from kosearch.korean.dictionary import UserWord, spellings

if TYPE_CHECKING:
    from kiwipiepy import Kiwi


@cache
def shared_kiwi() -> "Kiwi":
    """Return the process's Kiwi, loaded at the first call. It knows no words of the user; nobody may add any."""
    return _load()


def kiwi_with(words: Iterable[UserWord]) -> "Kiwi":
    """Return a Kiwi that knows these words, ready to be asked; the shared one where there are none.

    A new one each time: Kiwi forgets no word, and one that is asked by other threads must not be changed. Holds the
    interpreter for two to three seconds, whatever the number of words.
    """
    # Always in the same order, so that all processes have the same analyser.
    chosen = sorted(words)
    if not chosen:
        return shared_kiwi()
    kiwi = _load()
    for word in chosen:
        for spelling in spellings(word.form):
            kiwi.add_user_word(spelling, word.tag)
    kiwi.tokenize("")  # what it puts off until it is asked for the first time
    return kiwi


def _load() -> "Kiwi":
    from kiwipiepy import Kiwi  # noqa: PLC0415 - it brings a model along, and most processes never need it

    return Kiwi(num_workers=1)
