"""Changes of the dictionary are brought to what is indexed: a real store, a real ledger, a real Kiwi."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from indexer_worker.reanalysis import Reanalyser
from indexer_worker.words import CurrentWords
from kosearch.documents import Chunk, Document
from kosearch.korean.dictionary import Dictionary, UserWord
from kosearch.korean.kiwi import kiwi_with
from kosearch.korean.morphemes import MorphemeAnalyser
from kosearch.ledger import DictionaryBook, Ledger
from kosearch.reanalyses import ReanalysisState
from kosearch.settings import QdrantSettings, WorkerSettings
from kosearch.sparse_vectors import sparse_vector
from kosearch.vector_store import LEXICAL_VECTOR, VectorStore
from tests.ledgers import sqlite_url
from tests.store_process import StoreProcess, running_store

pytestmark = pytest.mark.timeout(240)

DIM = 4
LEASE_S = 15.0
COLLECTION = "shops"
MARKET = UserWord("당근마켓")
# Of every three texts two hold the name, and the third only its parts.
TEXTS = [
    text
    for number in range(6)
    for text in (
        f"당근마켓에서 자전거 {number}대를 샀다.",
        f"당근과 양파를 파는 마켓 {number}곳이 있다.",
        f"어제 당근마켓은 {number}시에 닫았다.",
    )
]


class Crash(BaseException):
    """Kill -9."""


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Breaking:
    """A neighbour at which the worker dies, before or after its call of this number."""

    def __init__(self, neighbour: Any, calls: "Calls") -> None:
        self._neighbour = neighbour
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._neighbour, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self._calls.count()
            answer = method(*arguments, **options)
            self._calls.count()
            return answer

        return call


class Calls:
    """Counts moments; the worker dies in the one of this number."""

    def __init__(self, deadly: int) -> None:
        self.counted = 0
        self._deadly = deadly

    def count(self) -> None:
        self.counted += 1
        if self.counted == self._deadly:
            raise Crash


class Lease:
    def check(self) -> None: ...


@contextmanager
def keep_lease(renew: Callable[[], None], _: float) -> Iterator[Lease]:
    """Keep a lease without a thread."""
    renew()
    yield Lease()


@cache
def analyser(words: tuple[UserWord, ...]) -> MorphemeAnalyser:
    """Return a real analyser; it takes seconds to make one."""
    return MorphemeAnalyser(kiwi_with(words))


def load(dictionary: Dictionary) -> MorphemeAnalyser:
    return analyser(dictionary.words)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    with running_store(tmp_path_factory.mktemp("store") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def store(process: StoreProcess) -> Iterator[VectorStore]:
    made = VectorStore(QdrantSettings(url=f"http://127.0.0.1:{process.port}", grpc_port=process.port))
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(tmp_path: Path, clock: Clock) -> Iterator[DictionaryBook]:
    ledger = Ledger(sqlite_url(tmp_path), clock)
    yield ledger.dictionary
    ledger.close()


@pytest.fixture
def indexed(store: VectorStore, process: StoreProcess, book: DictionaryBook) -> Iterator[None]:
    """The texts, as they are indexed without words of the user."""
    store.ensure_collection(COLLECTION, DIM, "tiny", "f" * 64, {})
    write(store, book, *(chunk(f"d{number}", text) for number, text in enumerate(TEXTS)))
    yield
    with closing(process.client()) as client:
        client.delete_collection(COLLECTION)


def chunk(name: str, text: str) -> Chunk:
    return Chunk(Document(name, text, "소식"), 0, text, text)


def write(store: VectorStore, book: DictionaryBook, *chunks: Chunk) -> None:
    """Write chunks as the indexer does."""
    words = CurrentWords(book, store, load)
    rows = np.random.default_rng(0).standard_normal((len(chunks), DIM)).astype(np.float32)
    store.upsert_chunks(COLLECTION, chunks, rows, words.vectors(chunks), wait=True)
    words.settle(COLLECTION, chunks)


def vectors(process: StoreProcess) -> dict[str, tuple[bytes, dict[int, float]]]:
    """Return embedding and words of each text, read past our own code."""
    with closing(process.client()) as client:
        points, _ = client.scroll(COLLECTION, limit=1000, with_payload=True, with_vectors=True)
    found = {}
    for point in points:
        assert point.payload is not None
        assert isinstance(point.vector, dict)
        sparse = point.vector[LEXICAL_VECTOR]
        assert isinstance(sparse, models.SparseVector)
        embedding = np.array(point.vector[""], dtype=np.float32).tobytes()
        found[point.payload["text"]] = (embedding, dict(zip(sparse.indices, sparse.values, strict=True)))
    return found


def expected(text: str, *words: UserWord) -> dict[int, float]:
    vector = analyser(words).document_vector("소식", text)
    return dict(zip(vector.indices.tolist(), vector.values.tolist(), strict=True))


def put(book: DictionaryBook, *words: UserWord) -> None:
    book.put(words, [COLLECTION], 0.0)


def reanalyse(book: Any, store: Any, due: DictionaryBook, page_points: int = 5) -> None:
    """Do what is due."""
    for number in due.due_reanalyses(0.0):
        words = CurrentWords(book, store, load)
        Reanalyser(book, store, words, keep_lease, WorkerSettings(lease_s=LEASE_S), "w", page_points).run(number)


def test_points_that_hold_the_word_get_their_words_anew(
    indexed: None, book: DictionaryBook, store: VectorStore, process: StoreProcess
) -> None:
    """The others keep theirs bit for bit, and all keep their embeddings; removed, everything is as before."""
    before = vectors(process)
    put(book, MARKET)
    reanalyse(book, store, book)
    after = vectors(process)
    (term,) = sparse_vector({"당근마켓": 1.0}).indices.tolist()
    for text in TEXTS:
        assert after[text][0] == before[text][0]
        assert (after[text] == before[text]) is ("당근마켓" not in text)
        assert (term in after[text][1]) is ("당근마켓" in text)
        assert after[text][1] == expected(text, MARKET)
    (done,) = book.reanalyses(10)
    assert (done.state, done.points_seen, done.points_changed) == (ReanalysisState.SUCCEEDED, 18, 12)
    book.remove([MARKET.form], [COLLECTION], 0.0)
    reanalyse(book, store, book)
    assert vectors(process) == before


def test_a_worker_may_die_at_any_moment(
    indexed: None, book: DictionaryBook, store: VectorStore, process: StoreProcess, clock: Clock
) -> None:
    """The next one goes on where it stood, and in the end all have the words, none is written that need not be."""
    moments = Calls(deadly=0)
    put(book, MARKET)
    reanalyse(Breaking(book, moments), Breaking(store, moments), book)
    assert moments.counted > 40
    for deadly in range(1, moments.counted + 1):
        is_added = deadly % 2 == 0
        if is_added:
            put(book, MARKET)
        else:
            book.remove([MARKET.form], [COLLECTION], 0.0)
        moments = Calls(deadly)
        with pytest.raises(Crash):
            reanalyse(Breaking(book, moments), Breaking(store, moments), book)
        clock.now += LEASE_S + 1
        reanalyse(book, store, book)
        words = (MARKET,) if is_added else ()
        found = vectors(process)
        assert {text: words for text, (_, words) in found.items()} == {text: expected(text, *words) for text in TEXTS}
        newest = book.reanalyses(1)[0]
        assert (newest.state, newest.points_seen) == (ReanalysisState.SUCCEEDED, 18), deadly


def test_what_was_done_is_not_done_again(indexed: None, book: DictionaryBook, store: VectorStore, clock: Clock) -> None:
    """Of the points of pages that are done the second worker reads none."""
    put(book, MARKET)
    moments = Calls(deadly=0)

    class DyingBook(Breaking):
        def finish_page(self, *arguments: Any, **options: Any) -> None:
            book.finish_page(*arguments, **options)
            if book.reanalyses(1)[0].points_seen == 15:
                raise Crash

    with pytest.raises(Crash):
        reanalyse(DyingBook(book, moments), store, book)
    clock.now += LEASE_S + 1
    pages: list[int] = []

    class CountingStore(Breaking):
        def texts_from(self, *arguments: Any) -> Any:
            page = store.texts_from(*arguments)
            pages.append(len(page.points))
            return page

    reanalyse(book, CountingStore(store, moments), book)
    assert pages == [3]
    assert book.reanalyses(1)[0].points_changed == 12


def test_a_text_that_is_replaced_meanwhile_gets_its_own_words(
    indexed: None, book: DictionaryBook, store: VectorStore, process: StoreProcess
) -> None:
    """Between reading and writing; also when the new text does not hold the word."""
    put(book, MARKET)
    replaced = {TEXTS[0]: "새 글에는 그 이름이 없다.", TEXTS[2]: "새 글에도 당근마켓이 있다."}

    class RacingStore(Breaking):
        def update_words(self, *arguments: Any) -> None:
            for old in list(replaced):
                write(store, book, chunk(f"d{TEXTS.index(old)}", replaced.pop(old)))
            store.update_words(*arguments)

    new = list(replaced.values())
    reanalyse(book, RacingStore(store, Calls(0)), book, page_points=100)
    found = vectors(process)
    assert set(new) <= set(found)
    assert all(words == expected(text, MARKET) for text, (_, words) in found.items())


def test_a_worker_that_dies_right_after_it_wrote_old_words_over_a_new_text_is_made_up_for(
    indexed: None, book: DictionaryBook, store: VectorStore, process: StoreProcess, clock: Clock
) -> None:
    """The new text does not hold the word, so that nothing but the note of the dead one tells of it."""
    put(book, MARKET)

    class DyingStore(Breaking):
        def update_words(self, *arguments: Any) -> None:
            write(store, book, chunk("d0", "새 글에는 그 이름이 없다."))
            store.update_words(*arguments)
            raise Crash

    with pytest.raises(Crash):
        reanalyse(book, DyingStore(store, Calls(0)), book, page_points=100)
    new = "새 글에는 그 이름이 없다."
    assert vectors(process)[new][1] != expected(new, MARKET)
    clock.now += LEASE_S + 1
    reanalyse(book, store, book)
    assert all(words == expected(text, MARKET) for text, (_, words) in vectors(process).items())


def test_a_point_that_is_deleted_meanwhile_stays_away(
    indexed: None, book: DictionaryBook, store: VectorStore, process: StoreProcess
) -> None:
    put(book, MARKET)

    class RacingStore(Breaking):
        def update_words(self, *arguments: Any) -> None:
            store.delete_documents(COLLECTION, ["d0", "d1"])
            store.update_words(*arguments)

    reanalyse(book, RacingStore(store, Calls(0)), book)
    found = vectors(process)
    assert set(found) == set(TEXTS[2:])
    assert all(words == expected(text, MARKET) for text, (_, words) in found.items())


def test_what_is_written_while_the_dictionary_changes_is_corrected_by_its_writer(
    indexed: None, book: DictionaryBook, store: VectorStore, process: StoreProcess
) -> None:
    """He had found the words before the change, and wrote them after the reanalysis had passed."""
    late = chunk("late", "늦은 글에 당근마켓이 있다.")
    words = CurrentWords(book, store, load)
    found_before = words.vectors([late])
    put(book, MARKET)
    reanalyse(book, store, book)
    store.upsert_chunks(COLLECTION, [late], np.ones((1, DIM), dtype=np.float32), found_before, wait=True)
    assert vectors(process)[late.text][1] == expected(late.text)
    words.settle(COLLECTION, [late])
    assert vectors(process)[late.text][1] == expected(late.text, MARKET)


def test_a_collection_that_is_deleted_ends_it_quietly(book: DictionaryBook, store: VectorStore) -> None:
    book.put([MARKET], ["none"], 0.0)
    reanalyse(book, store, book)
    (ended,) = book.reanalyses(10)
    assert (ended.state, ended.points_seen, ended.error) == (ReanalysisState.SUCCEEDED, 0, "")


def test_a_store_that_is_away_is_waited_for(
    indexed: None, book: DictionaryBook, store: VectorStore, process: StoreProcess, clock: Clock
) -> None:
    """It says so, and goes on when it is sent again."""
    put(book, MARKET)
    away = VectorStore(QdrantSettings(url="http://127.0.0.1:1", grpc_port=1, timeout_s=1))
    reanalyse(book, away, book)
    away.close()
    (waiting,) = book.reanalyses(10)
    assert waiting.state is ReanalysisState.PENDING
    assert "does not answer" in waiting.error
    clock.now += 1
    reanalyse(book, store, book)
    assert vectors(process)[TEXTS[0]][1] == expected(TEXTS[0], MARKET)


def test_a_collection_without_a_place_for_words_fails_with_a_reason(
    book: DictionaryBook, store: VectorStore, process: StoreProcess
) -> None:
    with closing(process.client()) as client:
        client.create_collection("plain", models.VectorParams(size=DIM, distance=models.Distance.COSINE))
        point = models.PointStruct(id=1, vector=[1.0] * DIM, payload={"text": "당근마켓", "title": ""})
        client.upsert("plain", [point], wait=True)
    book.put([MARKET], ["plain"], 0.0)
    reanalyse(book, store, book)
    (failed,) = book.reanalyses(10)
    assert failed.state is ReanalysisState.FAILED
    assert "lexical" in failed.error
