"""What a change of the dictionary costs: the analyser, and the points of a store. Prints JSON.

python benchmarks/own_words.py [--points 20000] [--words 10000] [--seed 0]
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from report import print_report  # the benchmarks are scripts, not a package

from indexer_worker.lease import LeaseKeeper
from indexer_worker.reanalysis import Reanalyser
from indexer_worker.words import CurrentWords
from kosearch.documents import Chunk, Document
from kosearch.korean.dictionary import UserWord
from kosearch.korean.kiwi import kiwi_with, shared_kiwi
from kosearch.ledger import Ledger
from kosearch.logs import configure_logs
from kosearch.settings import QdrantSettings, WorkerSettings
from kosearch.vector_store import VectorStore

_COLLECTION = "words"
_DIM = 384
_NAME = "당근마켓"
_EVERY = 100


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--words", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    dice = random.Random(given.seed)
    configure_logs("benchmark", "WARNING", "console")
    figures = {"analyser": _measure_analyser(dice, given.words)}
    with tempfile.TemporaryDirectory() as folder, _store(Path(folder)) as qdrant:
        figures["reanalysis"] = _measure_reanalysis(dice, given.points, Path(folder), qdrant)
    print_report("own_words", {**vars(given), **figures})


def _measure_analyser(dice: random.Random, count: int) -> dict[str, Any]:
    shared_kiwi().tokenize("처음")
    words = [UserWord("".join(chr(dice.randrange(0xAC00, 0xD7A4)) for _ in range(4))) for _ in range(count)]
    before = _resident_mib()
    one = [_watched(lambda: kiwi_with(words[:1])) for _ in range(3)]
    many = _watched(lambda: kiwi_with(words))
    living = kiwi_with(words[:1])
    with_one_more = _resident_mib() - before
    living.add_user_word(_NAME, "NNP")
    return {
        "rebuild_with_1_word": one,
        f"rebuild_with_{count}_words": many,
        "first_analysis_after_adding_to_a_living_one": _watched(lambda: living.tokenize("다음")),
        "mib_of_a_second_one": with_one_more,
    }


def _measure_reanalysis(dice: random.Random, count: int, folder: Path, qdrant: QdrantSettings) -> dict[str, Any]:
    with closing(VectorStore(qdrant)) as store, closing(Ledger(f"sqlite:///{folder / 'ledger.db'}")) as ledger:
        book = ledger.dictionary
        words = CurrentWords(book, store)
        _fill(store, words, dice, count)
        seconds = {}
        for name, form in (("in_1_of_100_points", _NAME), ("in_all_points", "회사소식")):
            book.put([UserWord(form)], [_COLLECTION], time.time())
            words.refresh()
            (number,) = book.due_reanalyses(0.0)
            began_s = time.perf_counter()
            Reanalyser(book, store, words, LeaseKeeper, WorkerSettings(), "benchmark").run(number)
            done = book.reanalyses(1)[0]
            seconds[name] = {
                "points_seen": done.points_seen,
                "points_changed": done.points_changed,
                "seconds": round(time.perf_counter() - began_s, 2),
            }
        looks = [_seconds(book.version) for _ in range(200)]
        return {**seconds, "look_at_the_version_ms": round(1e3 * statistics.median(looks), 3)}


def _fill(store: VectorStore, words: CurrentWords, dice: random.Random, count: int) -> None:
    """Write chunks of some 400 characters, one in 100 of which holds the name."""
    store.ensure_collection(_COLLECTION, _DIM, "none", "0" * 64, {})
    nouns = ["회사", "자전거", "시장", "손해", "배상", "판결", "학교", "음식", "날씨", "도서관", "기차", "회의", "계약"]
    for start in range(0, count, 256):
        chunks = []
        for number in range(start, min(start + 256, count)):
            name = f"{_NAME}에서 샀다. " if number % _EVERY == 0 else ""
            text = (
                name
                + "회사소식이다. "
                + " ".join(f"{dice.choice(nouns)}을 {dice.choice(nouns)}에서 보았다." for _ in range(30))
            )
            chunks.append(Chunk(Document(f"d{number}", text, "제목"), 0, text, text))
        rows = np.ones((len(chunks), _DIM), dtype=np.float32)
        store.upsert_chunks(_COLLECTION, chunks, rows, words.vectors(chunks), wait=True)


def _watched(call: Callable[[], object]) -> dict[str, float]:
    """Return seconds of a call, of the processor, and the longest for which another thread did not get its turn."""
    longest, is_over = 0.0, threading.Event()

    def look() -> None:
        nonlocal longest
        before = time.perf_counter()
        while not is_over.wait(0.001):
            now = time.perf_counter()
            longest, before = max(longest, now - before), now

    watcher = threading.Thread(target=look)
    watcher.start()
    cpu_s = time.process_time()
    took_s = _seconds(call)
    cpu_s = time.process_time() - cpu_s
    is_over.set()
    watcher.join()
    return {"seconds": round(took_s, 2), "processor_s": round(cpu_s, 2), "others_waited_s": round(longest, 2)}


def _seconds(call: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    call()
    return time.perf_counter() - began_s


def _resident_mib() -> int:
    return psutil.Process().memory_info().rss >> 20


@contextmanager
def _store(folder: Path) -> Iterator[QdrantSettings]:
    port_file = folder / "port"
    command = [sys.executable, "-m", "standalone.store", "--data-dir", str(folder / "data"), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--port-file", str(port_file)],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "KOSEARCH_QDRANT__API_KEY": ""},
    )
    try:
        while not port_file.exists():
            if process.poll() is not None:
                sys.exit("the store did not start")
            time.sleep(0.05)
        port = int(port_file.read_text(encoding="utf-8"))
        yield QdrantSettings(url=f"http://127.0.0.1:{port}", grpc_port=port)
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
