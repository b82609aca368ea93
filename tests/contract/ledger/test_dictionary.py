"""Words of the user, their versions, and the reanalyses that changes ask for."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from kosearch.errors import InvalidRequestError, LeaseLostError
from kosearch.jobs import JobState
from kosearch.korean.dictionary import Dictionary, UserWord
from kosearch.ledger import DictionaryBook, Ledger
from kosearch.ledger import dictionary as dictionary_module
from kosearch.reanalyses import Reanalysis, ReanalysisState, ReanalysisSummary
from tests.contract.ledger.steps import LEASE_S, MAX_ATTEMPTS, Clock, index, push, state, stored, take, version

PHONE, HAIR = UserWord("갤럭시 S24"), UserWord("닥터포헤어", "NNG")
QUIET_S = 5.0


@pytest.fixture
def book(ledger: Ledger) -> DictionaryBook:
    return ledger.dictionary


def put(book: DictionaryBook, *words: UserWord, collections: tuple[str, ...] = ("laws",)) -> int:
    """Put words, with all collections listed in the future. Returns the version."""
    return book.put(words, collections, float("inf")).version


def claim(book: DictionaryBook, reanalysis_id: int, owner: str = "a") -> Reanalysis | None:
    return book.claim_reanalysis(reanalysis_id, owner, LEASE_S, MAX_ATTEMPTS)


def begun(book: DictionaryBook, owner: str = "a") -> Reanalysis:
    """Claim the only reanalysis that is due."""
    (number,) = book.due_reanalyses(QUIET_S)
    claimed = claim(book, number, owner)
    assert claimed is not None
    return claimed


def only(book: DictionaryBook) -> ReanalysisSummary:
    (summary,) = book.reanalyses(10)
    return summary


# Words


def test_a_new_ledger_has_the_empty_dictionary(book: DictionaryBook) -> None:
    assert (book.version(), book.words(), book.reanalyses(10)) == (0, Dictionary(), [])


def test_words_are_kept_by_form_and_each_change_is_a_version(book: DictionaryBook) -> None:
    """Added, given another tag, removed."""
    assert put(book, HAIR, PHONE) == 1
    assert book.words() == Dictionary(1, (PHONE, HAIR))
    assert put(book, UserWord(HAIR.form, "NNP")) == 2
    assert book.words() == Dictionary(2, (PHONE, UserWord(HAIR.form, "NNP")))
    assert book.remove([PHONE.form], ["laws"], 0.0).version == 3
    assert (book.words(), book.version()) == (Dictionary(3, (UserWord(HAIR.form, "NNP"),)), 3)


def test_what_changes_nothing_is_no_version_and_asks_for_nothing(book: DictionaryBook) -> None:
    """Words that are there, and words that are not."""
    put(book, HAIR)
    again = book.put([HAIR], ["laws", "cases"], 0.0)
    unknown = book.remove(["없는말"], ["laws", "cases"], 0.0)
    assert [(each.version, each.words) for each in (again, unknown)] == [(1, 0), (1, 0)]
    assert [each.collection for each in book.reanalyses(10)] == ["laws"]


def test_of_a_form_that_is_given_twice_the_last_one_counts(book: DictionaryBook) -> None:
    put(book, HAIR, UserWord(HAIR.form, "MAG"))
    assert book.words().words == (UserWord(HAIR.form, "MAG"),)


def test_there_may_be_many_words(book: DictionaryBook) -> None:
    """More than one statement takes; ordered alike by both databases."""
    words = [UserWord(f"{letter}{number}") for letter in ("가", "a", "B", "é") for number in range(500)]
    assert put(book, *words) == 1
    assert book.words().words == tuple(sorted(words))
    assert book.remove([word.form for word in words[1:]], [], 0.0).words == len(words) - 1
    assert book.words().words == (words[0],)


def test_there_may_not_be_too_many_words(book: DictionaryBook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the change remains."""
    monkeypatch.setattr(dictionary_module, "MAX_WORDS", 2)
    put(book, HAIR, PHONE)
    with pytest.raises(InvalidRequestError, match="would hold 3 words; 2 are possible"):
        put(book, UserWord("뤼튼"))
    assert book.words() == Dictionary(1, (PHONE, HAIR))
    assert put(book, UserWord(HAIR.form, "NNP")) == 2


def test_changes_at_the_same_time_are_versions_of_their_own(book: DictionaryBook) -> None:
    """Whoever sees a version sees the words of all below it."""

    def change(number: int) -> tuple[int, Dictionary]:
        return put(book, UserWord(f"낱말{number}")), book.words()

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(change, range(24)))
    assert sorted(version for version, _ in seen) == list(range(1, 25))
    assert all(len(dictionary.words) == dictionary.version >= version for version, dictionary in seen)


# What a change asks for


def test_each_collection_gets_the_changed_words(book: DictionaryBook) -> None:
    """Those that changed, and no others."""
    put(book, HAIR, collections=())
    put(book, HAIR, PHONE, UserWord("뤼튼"), collections=("laws", "cases"))
    found = {}
    for number in book.due_reanalyses(QUIET_S):
        claimed = claim(book, number)
        assert claimed is not None
        found[claimed.collection] = (claimed.version, claimed.forms)
    assert found == dict.fromkeys(("laws", "cases"), (2, (PHONE.form, "뤼튼")))


def test_a_later_change_joins_a_reanalysis_that_was_not_begun(book: DictionaryBook) -> None:
    """The collection is read once for both."""
    put(book, HAIR, UserWord("뤼튼"))
    book.remove(["뤼튼"], ["laws"], float("inf"))
    put(book, PHONE)
    summary = only(book)
    assert (summary.first_version, summary.version, summary.words) == (1, 3, 4)
    claimed = begun(book)
    assert (claimed.version, claimed.forms) == (3, (PHONE.form, HAIR.form, "뤼튼"))


@pytest.mark.parametrize("is_given_back", [False, True])
def test_a_later_change_does_not_join_one_that_was_begun(is_given_back: bool, book: DictionaryBook) -> None:
    """What it has passed would miss the words."""
    put(book, HAIR)
    first = begun(book)
    book.finish_page(first.id, "a", "point 7", seen=10, changed=1)
    if is_given_back:
        book.release_reanalysis(first.id, "a", "Qdrant is away")
    put(book, PHONE)
    second, former = book.reanalyses(10)
    assert (former.id, former.version, second.first_version) == (first.id, 1, 2)


def test_collections_that_jobs_made_meanwhile_are_asked_for(book: DictionaryBook, ledger: Ledger, clock: Clock) -> None:
    """They were not there when the collections were listed; what ended before that was."""
    index(ledger, version("가"), collection="old")
    clock.advance(60)
    listed_at = clock.now
    index(ledger, version("가"), collection="new")
    _, number = push(ledger, "나", collection="open")
    book.put([HAIR], ["listed"], listed_at)
    assert sorted(each.collection for each in book.reanalyses(10)) == ["listed", "new", "open"]
    assert stored(ledger, take(ledger, number), version("나")) is JobState.SUCCEEDED


def test_a_change_without_a_collection_is_a_version_all_the_same(book: DictionaryBook) -> None:
    assert put(book, HAIR, collections=()) == book.version() == 1
    assert book.reanalyses(10) == []


# Sending


def test_what_nobody_is_at_is_due_once(book: DictionaryBook, clock: Clock) -> None:
    """Again after the quiet time, and again when the worker died."""
    put(book, HAIR)
    (number,) = book.due_reanalyses(QUIET_S)
    assert book.due_reanalyses(QUIET_S) == []
    clock.advance(QUIET_S + 1)
    assert book.due_reanalyses(QUIET_S) == [number]
    assert claim(book, number) is not None
    clock.advance(LEASE_S - 1)
    assert book.due_reanalyses(QUIET_S) == []
    clock.advance(2)
    assert book.due_reanalyses(QUIET_S) == [number]


# Working


def test_points_are_counted_and_it_ends(book: DictionaryBook, clock: Clock) -> None:
    put(book, HAIR)
    created = clock.now
    work = begun(book)
    book.begin_page(work.id, "a", "point 9")
    book.finish_page(work.id, "a", "point 10", seen=10, changed=2)
    running = only(book)
    assert (running.state, running.points_seen, running.points_changed) == (ReanalysisState.RUNNING, 10, 2)
    clock.advance(3)
    book.finish_reanalysis(work.id, "a", seen=5, changed=1)
    ended = only(book)
    assert (ended.state, ended.points_seen, ended.points_changed) == (ReanalysisState.SUCCEEDED, 15, 3)
    assert (ended.created_at, ended.ended_at) == (created, clock.now)
    assert (book.due_reanalyses(0), claim(book, work.id)) == ([], None)


def test_another_worker_goes_on_where_one_died(book: DictionaryBook, clock: Clock) -> None:
    """It knows what is done, and over which points the dead one may have written."""
    put(book, HAIR)
    dead = begun(book)
    book.finish_page(dead.id, "a", "point 10", seen=10, changed=2)
    book.begin_page(dead.id, "a", "point 19")
    assert claim(book, dead.id, "b") is None
    clock.advance(LEASE_S + 1)
    heir = claim(book, dead.id, "b")
    assert heir is not None
    assert (heir.cursor, heir.doubtful_to, heir.forms) == ("point 10", "point 19", dead.forms)
    for late in (
        lambda: book.begin_page(dead.id, "a", "x"),
        lambda: book.finish_page(dead.id, "a", "x", seen=1, changed=1),
        lambda: book.renew_reanalysis(dead.id, "a", LEASE_S),
        lambda: book.finish_reanalysis(dead.id, "a"),
        lambda: book.fail_reanalysis(dead.id, "a", "x"),
        lambda: book.release_reanalysis(dead.id, "a", "x"),
    ):
        with pytest.raises(LeaseLostError):
            late()
    assert only(book).points_seen == 10


def test_a_lease_is_renewed(book: DictionaryBook, clock: Clock) -> None:
    put(book, HAIR)
    work = begun(book)
    for _ in range(3):
        clock.advance(LEASE_S - 1)
        book.renew_reanalysis(work.id, "a", LEASE_S)
    assert claim(book, work.id, "b") is None


def test_what_waits_says_for_what_and_is_taken_again(book: DictionaryBook) -> None:
    """However often: a neighbour that is away is no fault of it."""
    put(book, HAIR)
    (number,) = book.due_reanalyses(QUIET_S)
    for _ in range(2 * MAX_ATTEMPTS):
        assert claim(book, number) is not None
        book.release_reanalysis(number, "a", "Qdrant is away")
        assert (only(book).state, only(book).error) == (ReanalysisState.PENDING, "Qdrant is away")
    assert claim(book, number) is not None
    assert only(book).error == ""


def test_one_on_which_workers_die_fails(book: DictionaryBook, clock: Clock) -> None:
    put(book, HAIR)
    (number,) = book.due_reanalyses(QUIET_S)
    for _ in range(MAX_ATTEMPTS):
        assert claim(book, number) is not None
        clock.advance(LEASE_S + 1)
    assert claim(book, number) is None
    assert (only(book).state, only(book).error) == (
        ReanalysisState.FAILED,
        f"{MAX_ATTEMPTS} workers died on it; see the worker's log",
    )
    assert book.due_reanalyses(0) == []


def test_one_that_gets_on_survives_any_number_of_workers(book: DictionaryBook, clock: Clock) -> None:
    put(book, HAIR)
    (number,) = book.due_reanalyses(QUIET_S)
    for turn in range(3 * MAX_ATTEMPTS):
        assert claim(book, number) is not None
        book.finish_page(number, "a", f"point {turn}", seen=1, changed=0)
        clock.advance(LEASE_S + 1)
    assert only(book).points_seen == 3 * MAX_ATTEMPTS


def test_a_failed_one_says_why(book: DictionaryBook) -> None:
    put(book, HAIR)
    work = begun(book)
    book.fail_reanalysis(work.id, "a", "no place for words")
    assert (only(book).state, only(book).error) == (ReanalysisState.FAILED, "no place for words")


def test_those_that_go_on_are_listed_first(book: DictionaryBook) -> None:
    put(book, HAIR, collections=("a", "b", "c"))
    numbers = book.due_reanalyses(QUIET_S)
    for number in numbers[1:]:
        assert claim(book, number) is not None
        book.finish_reanalysis(number, "a")
    assert [each.collection for each in book.reanalyses(10)] == ["a", "c", "b"]
    assert [each.collection for each in book.reanalyses(2)] == ["a", "c"]


def test_nothing_is_known_of_an_unknown_one(book: DictionaryBook) -> None:
    """A task that outlived its ledger."""
    late: Any = 4711
    assert claim(book, late) is None
    with pytest.raises(LeaseLostError):
        book.renew_reanalysis(late, "a", LEASE_S)


def test_jobs_go_on_in_a_ledger_with_words(book: DictionaryBook, ledger: Ledger) -> None:
    """A change of the words is nothing to a document's digest: what is stored is not stored again."""
    first = index(ledger, version("가"))
    put(book, HAIR)
    assert state(ledger, first.id) is JobState.SUCCEEDED
    assert ledger.known_documents(first, ["가"])["가"].digest == b"1"
