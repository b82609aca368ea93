"""Searches follow the dictionary: made at the start, made anew when it has changed, and not otherwise."""

import asyncio
from dataclasses import dataclass, field

from encoder_service.dictionary_watcher import DictionaryWatcher
from kosearch.errors import UnavailableError
from kosearch.korean.dictionary import Dictionary, UserWord


@dataclass
class FakeBook:
    """The ledger's dictionary; can be away."""

    dictionary: Dictionary = field(default_factory=Dictionary)
    is_away: bool = False
    looks: int = 0

    def version(self) -> int:
        self.looks += 1
        return self.words().version

    def words(self) -> Dictionary:
        if self.is_away:
            raise UnavailableError("the ledger is away")
        return self.dictionary

    def teach(self, *forms: str) -> None:
        words = (*self.dictionary.words, *map(UserWord, forms))
        self.dictionary = Dictionary(self.dictionary.version + 1, words)


def forms_of(dictionary: Dictionary) -> tuple[str, ...]:
    """Stands for what is made from a dictionary."""
    return tuple(word.form for word in dictionary.words)


async def until_looked_again(book: FakeBook) -> None:
    """Wait until the watcher has looked twice from now on, so that it has acted on a look."""
    looks = book.looks
    while book.looks < looks + 2:  # noqa: ASYNC110 - another thread looks
        await asyncio.sleep(0)


async def test_each_change_is_followed_once() -> None:
    book = FakeBook()
    watcher = DictionaryWatcher(book, forms_of, pause_s=0)
    used = [watcher.load()]
    watching = asyncio.create_task(watcher.watch(used.append))
    await until_looked_again(book)
    assert used == [()]
    book.teach("뤼튼")
    await until_looked_again(book)
    book.teach("당근마켓")
    await until_looked_again(book)
    watching.cancel()
    assert used == [(), ("뤼튼",), ("뤼튼", "당근마켓")]


async def test_it_starts_without_words_while_the_ledger_is_away_and_gets_them_later() -> None:
    """A search without the user's words is better than none."""
    book = FakeBook(is_away=True)
    book.teach("뤼튼")
    watcher = DictionaryWatcher(book, forms_of, pause_s=0)
    used = [watcher.load()]
    watching = asyncio.create_task(watcher.watch(used.append))
    await until_looked_again(book)
    assert used == [()]
    book.is_away = False
    await until_looked_again(book)
    watching.cancel()
    assert used == [(), ("뤼튼",)]


async def test_a_ledger_that_is_away_changes_nothing() -> None:
    book = FakeBook()
    book.teach("뤼튼")
    watcher = DictionaryWatcher(book, forms_of, pause_s=0)
    used = [watcher.load()]
    watching = asyncio.create_task(watcher.watch(used.append))
    book.is_away = True
    await until_looked_again(book)
    book.is_away = False
    await until_looked_again(book)
    watching.cancel()
    assert used == [("뤼튼",)]
