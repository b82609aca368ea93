"""A world for jobs, run by a seed: workers that crash or freeze anywhere, a broker that loses and doubles messages,
neighbours that are away or do not acknowledge, a clock that jumps. The code under test is the real one: planner,
indexer, worker, dispatcher, and the ledger on a database in memory; files are real, too.

    python -m tests.simulation.world --seed 17 --trace       replays one seed and says what happens
    python -m tests.simulation.world --seeds 0 10000         runs many, prints JSON

Each actor is a greenlet that gives way at every call to a neighbour; which one goes on is drawn. So everything runs in
one thread, and a seed has one history.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import greenlet
import numpy as np
import structlog

from encoder_service.dispatcher import Dispatcher
from indexer_worker.indexer import Indexer
from indexer_worker.reanalysis import Reanalyser
from indexer_worker.words import CurrentWords
from indexer_worker.worker import Worker
from kosearch.client import Encoded
from kosearch.documents import Chunk, Document
from kosearch.errors import KosearchError, LeaseLostError, OverloadedError, UnavailableError
from kosearch.jobs import JobOptions, JobState, SourceFields
from kosearch.korean.dictionary import Dictionary, UserWord
from kosearch.ledger import Ledger
from kosearch.reanalyses import ReanalysisState
from kosearch.settings import WorkerSettings
from kosearch.sparse_vectors import SparseVector, sparse_vector
from kosearch.vector_store import PointText, TextPage

COLLECTION = "c"
LEASE_S = 15.0
POISON = "poison"
_SETTINGS = WorkerSettings.model_construct(
    **{
        **WorkerSettings().model_dump(),
        "partition_documents": 2,
        "max_attempts": 3,
        "lease_s": LEASE_S,
        "max_line_bytes": 4096,
    }
)
_STEPS_OF_TROUBLE = 400
_STEPS_TO_REST = 1000


class Crash(BaseException):
    """Kill -9."""


class StuckError(AssertionError):
    """A job does not come to its end."""


@dataclass
class Store:
    """Qdrant: points by id."""

    points: dict[str, tuple[str, int, str]] = field(default_factory=dict)
    words: dict[str, SparseVector] = field(default_factory=dict)
    exists: bool = False

    def documents(self) -> dict[str, dict[int, str]]:
        """Return texts by document and place."""
        found: dict[str, dict[int, str]] = {}
        for name, index, text in self.points.values():
            found.setdefault(name, {})[index] = text
        return found


class StoreConnection:
    """A worker's connection to the store."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._store = world.store

    def check_version(self) -> str:
        with self._world.call("store.check_version"):
            return "1.20"

    def count(self, _: str) -> int:
        with self._world.call("store.count"):
            return len(self._store.points)

    def upsert_chunks(
        self, _: str, chunks: Sequence[Chunk], embeddings: Any, words: Sequence[SparseVector], *, wait: bool
    ) -> None:
        assert wait
        assert len(chunks) == len(embeddings) == len(words)
        # Nobody stands still between looking at the lease and writing: that gap is known, and as small as a call.
        with self._world.call("store.upsert", gives_way=False):
            self._world.note(f"stored: {', '.join(f'{each.document.id}.{each.index}={each.text}' for each in chunks)}")
            self._store.points |= {each.point_id: (each.document.id, each.index, each.text) for each in chunks}
            self._store.words |= {each.point_id: vector for each, vector in zip(chunks, words, strict=True)}

    def texts_from(self, _: str, first: str, limit: int) -> TextPage:
        with self._world.call("store.texts_from"):
            points = sorted(point for point in self._store.points if point >= first)
            return TextPage(self._texts(points[:limit]), "".join(points[limit : limit + 1]))

    def texts_of(self, _: str, point_ids: Sequence[str]) -> tuple[PointText, ...]:
        with self._world.call("store.texts_of"):
            return self._texts([point for point in point_ids if point in self._store.points])

    def update_words(self, _: str, point_ids: Sequence[str], vectors: Sequence[SparseVector]) -> None:
        # As with upserts.
        with self._world.call("store.update_words", gives_way=False):
            new = dict(zip(point_ids, vectors, strict=True))
            self._world.note(f"new words of {', '.join(point[:4] for point in new)}")
            self._store.words |= {point: vector for point, vector in new.items() if point in self._store.points}

    def _texts(self, points: Sequence[str]) -> tuple[PointText, ...]:
        return tuple(PointText(point, "", self._store.points[point][2]) for point in points)

    def delete_stale_chunks(self, _: str, chunks: Sequence[Chunk]) -> None:
        names, kept = {chunk.document.id for chunk in chunks}, {chunk.point_id for chunk in chunks}
        with self._world.call("store.delete_stale"):
            stale = [point for point, (name, _, _) in self._store.points.items() if name in names and point not in kept]
            for point in stale:
                del self._store.points[point]

    def delete_documents(self, _: str, document_ids: Sequence[str]) -> int:
        with self._world.call("store.delete"):
            gone = [point for point, (name, _, _) in self._store.points.items() if name in document_ids]
            self._world.note(f"removed: {', '.join(document_ids)}")
            for point in gone:
                del self._store.points[point]
            return len(gone)

    def defer_index_building(self, _: str) -> None:
        with self._world.call("store.defer"):
            pass

    def is_index_deferred(self, _: str) -> bool:
        with self._world.call("store.is_deferred"):
            return False

    def build_index(self, _: str, check: Callable[[], None]) -> None:
        with self._world.call("store.build"):
            check()


class Encoder:
    """The encoder service; refuses texts that hold 거절."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def encode(self, texts: Sequence[str], *, is_bulk: bool) -> Encoded:
        del is_bulk
        with self._world.call("encoder.encode"):
            count = len(texts)
            return Encoded(np.zeros((count, 2), dtype=np.float32), (1,) * count, (False,) * count, "model")


class AtOnce(Executor):
    """Runs what is submitted in the greenlet that submits it."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class BarChunker:
    """A chunk for each part between bars; a poisonous document kills its worker."""

    def chunks(self, document: Document) -> Iterator[Chunk]:
        if POISON in document.text:
            raise Crash
        for index, text in enumerate(document.text.split("|")):
            yield Chunk(document, index, text, text, tokens=1)


class PartsAnalyser:
    """Finds what of the dictionary stands in a text, and the text itself."""

    signature = "parts"

    def __init__(self, dictionary: Dictionary, think: Callable[[], None]) -> None:
        self._forms = [word.form for word in dictionary.words]
        self._think = think

    def document_vector(self, _title: str, text: str) -> SparseVector:
        self._think()
        return sparse_vector({text: 1.0} | {f"/{form}": 1.0 for form in self._forms if form in text})


@dataclass
class Served:
    """The model."""

    indexer: Indexer
    store: Store
    signature: str = "signature"

    def has_collection(self, _: str) -> bool:
        return self.store.exists

    def make_collection(self, _collection: str, _field_types: Mapping[str, Any]) -> None:
        self.store.exists = True


class FaultyLedger:
    """The real ledger at the end of a line that may break before or after each call."""

    def __init__(self, ledger: Any, world: "World") -> None:
        self._ledger = ledger
        self._world = world

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._ledger, name)
        if name == "plan_writer":
            return lambda *arguments: FaultyLedger(method(*arguments), self._world)

        def call(*arguments: Any, **options: Any) -> Any:
            with self._world.call(f"ledger.{name}"):
                answer = method(*arguments, **options)
                # Who lost its lease may have looked at an earlier state, and is not listened to.
                assert name != "forget_documents", "this store loses nothing"
                self._world.note(f"ledger.{name} -> {str(answer)[:160]}")
                return answer

        return call


class Queue:
    """The broker."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.messages: list[tuple[str, Any]] = []

    def send_job(self, job_id: str) -> None:
        self._send("job", [job_id])

    def send_partitions(self, partition_ids: Iterable[int], *, is_online: bool = False) -> None:
        del is_online
        self._send("partition", partition_ids)

    def send_reanalyses(self, reanalysis_ids: Iterable[int]) -> None:
        self._send("reanalysis", reanalysis_ids)

    def waiting(self) -> int:
        return len(self.messages)

    def _send(self, kind: str, arguments: Iterable[Any]) -> None:
        for argument in arguments:
            with self._world.call("broker.send"):
                self.messages.append((kind, argument))

    def take(self) -> tuple[str, Any] | None:
        """Return a message, mostly the oldest; some come twice."""
        if not self.messages:
            return None
        place = 0 if self._world.dice.random() < 0.7 else self._world.dice.randrange(len(self.messages))
        message = self.messages[place]
        if not (self._world.has_trouble and self._world.dice.random() < 0.1):
            del self.messages[place]
        return message


class KeptLease:
    """A lease that the world renews while its worker is not frozen."""

    def __init__(self, world: "World", renew: Callable[[], None]) -> None:
        self._world = world
        self._renew = renew
        self._is_lost = False
        self._held_until = world.elapsed + LEASE_S

    def renew(self) -> None:
        """Renew it now."""
        try:
            self._renew()
            self._held_until = self._world.elapsed + LEASE_S
        except LeaseLostError:
            self._is_lost = True
        except (UnavailableError, Crash):
            pass

    def check(self) -> None:
        """Raise when it is lost, or may be."""
        if self._is_lost or self._world.elapsed > self._held_until:
            raise LeaseLostError("lost")


class Actor:
    """A worker process, started again whenever it died."""

    def __init__(self, world: "World", name: str) -> None:
        self.name = name
        self.leases: list[KeptLease] = []
        self.frozen_until = 0.0
        # A worker that dies in the moment of a cancellation cannot tell what it wrote, and nobody comes after it.
        self.is_spared = False
        self._world = world
        self._greenlet: greenlet.greenlet | None = None

    def run_on(self) -> None:
        """Let it do its next step."""
        if self._greenlet is None or self._greenlet.dead:
            self._greenlet = greenlet.greenlet(self._live)
        self._world.acting = self
        self._greenlet.switch()
        self._world.acting = None

    def _live(self) -> None:
        self.leases = []
        try:
            work = self._world.make_worker(self)
            while True:
                self.is_spared = False
                message = self._world.queue.take()
                if message is None:
                    self._world.give_way()
                    continue
                kind, argument = message
                self._world.note(f"{self.name} takes {kind} {str(argument)[:8]}")
                try:
                    work[kind](argument)
                except (UnavailableError, OverloadedError) as error:
                    self._world.note(f"{self.name}: the task broke off: {error}")
        except Crash:
            self._world.note(f"{self.name} crashed")


class World:
    """Everything, with the clock and the dice."""

    def __init__(self, seed: int, folder: Path, *, traces: bool = False) -> None:
        self.dice = random.Random(seed)
        self.now = 1_700_000_000.0
        self.elapsed = 0.0
        self.has_trouble = True
        self.acting: Actor | None = None
        self.store = Store()
        self.queue = Queue(self)
        self.ledger = Ledger("sqlite://", lambda: self.now)
        self._traces = traces
        self._main = greenlet.getcurrent()
        self._actors = [Actor(self, f"w{number}") for number in range(self.dice.randint(1, 3))]
        self._dispatcher = Dispatcher(self.ledger, self.queue)  # type: ignore[arg-type]
        self._folder = folder
        self._stamp = 0
        self.files: dict[str, dict[str, str]] = {}
        # What may be stored of each pushed document: one state, or two after an unclear answer.
        self.pushed: dict[str, set[str | None]] = {}
        self._pushed_by: dict[str, str] = {}

    def note(self, text: str) -> None:
        """Tell what happens."""
        if self._traces:
            print(f"{self.elapsed:9.1f}  {text}", file=sys.stderr)  # noqa: T201

    @contextmanager
    def call(self, name: str, *, gives_way: bool = True) -> Iterator[None]:
        """Run the block as a call to a neighbour, which may fail before it or lose its answer."""
        self._fault(name, "before")
        if gives_way:
            self.give_way()
        yield
        self.give_way()
        self._fault(name, "after")

    def give_way(self) -> None:
        """Let another actor act."""
        actor = self.acting
        if actor is not None:
            self._main.switch()
            self.acting = actor

    def _fault(self, name: str, when: str) -> None:
        if not self.has_trouble:
            return
        if self.acting and not self.acting.is_spared and self.dice.random() < 0.012:
            self.note(f"{self.acting.name} dies {when} {name}")
            raise Crash
        if self.dice.random() < 0.012:
            self.note(f"{name} fails {when} it was done")
            raise UnavailableError(f"{name} is away")

    def make_worker(self, actor: Actor) -> dict[str, Callable[[Any], None]]:
        """Return a worker process's inside: what it does with each kind of task."""
        connection = StoreConnection(self)
        ledger: Any = FaultyLedger(self.ledger, self)
        book: Any = FaultyLedger(self.ledger.dictionary, self)
        load = partial(PartsAnalyser, think=self._think)
        words = CurrentWords(book, connection, load, lambda: self.elapsed)
        indexer = Indexer(
            Encoder(self), connection, ledger, BarChunker(), words, "model", "signature", _SETTINGS, AtOnce()
        )
        served = Served(indexer, self.store)

        @contextmanager
        def keep_lease(renew: Callable[[], None], _: float) -> Iterator[KeptLease]:
            lease = KeptLease(self, renew)
            actor.leases.append(lease)
            try:
                yield lease
            finally:
                actor.leases.remove(lease)

        worker = Worker(ledger, connection, self.queue, lambda: served, keep_lease, _SETTINGS, actor.name)
        reanalyser = Reanalyser(book, connection, words, keep_lease, _SETTINGS, actor.name, page_points=3)
        return {"job": worker.advance, "partition": worker.index, "reanalysis": reanalyser.run}

    # What happens

    def step(self) -> None:
        """Let something happen."""
        event = self.dice.random()
        if event < 0.08:
            self._pass_time(self.dice.choice([0.5, 2.0, 5.0]))
        elif event < 0.13:
            self._dispatch()
        elif self.has_trouble and event < 0.14:
            jump = self.dice.choice([-86_400.0, -3600.0, -30.0, 30.0, 3600.0, 86_400.0])
            self.note(f"the clock jumps by {jump:+.0f} s")
            self.now += jump
        elif self.has_trouble and event < 0.145:
            self.note("the broker loses everything")
            self.queue.messages.clear()
        elif self.has_trouble and event < 0.155:
            actor = self.dice.choice(self._actors)
            actor.frozen_until = self.elapsed + self.dice.choice([3.0, 20.0, 60.0])
            self.note(f"{actor.name} freezes until {actor.frozen_until:.1f}")
        else:
            awake = [actor for actor in self._actors if actor.frozen_until <= self.elapsed]
            if awake:
                self.dice.choice(awake).run_on()
            else:
                self._pass_time(1.0)

    def _pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.elapsed += seconds
        for actor in self._actors:
            if actor.frozen_until <= self.elapsed:
                for lease in list(actor.leases):
                    lease.renew()

    def _dispatch(self) -> None:
        with suppress(UnavailableError):
            self._dispatcher.dispatch()

    # What clients do

    def change_files(self) -> None:
        """Write, change or delete a source file."""
        name = self.dice.choice("abc")
        path = self._folder / f"{name}.jsonl"
        if name in self.files and self.dice.random() < 0.15:
            self.note(f"file {name} is deleted")
            path.unlink()
            del self.files[name]
            return
        documents = dict(self.files.get(name, {}))
        for _ in range(self.dice.randint(1, 4)):
            key = f"{name}{self.dice.randrange(6)}"
            if key in documents and self.dice.random() < 0.4:
                del documents[key]
            else:
                documents[key] = self._text()
        if not documents:
            documents[f"{name}0"] = self._text()
        self.files[name] = documents
        lines = (json.dumps({"id": key, "text": text}) for key, text in documents.items())
        path.write_text("\n".join(lines))
        self._stamp += 1
        os.utime(path, ns=(self._stamp, self._stamp))
        self.note(f"file {name}: {documents}")

    def submit(self, options: JobOptions | None = None) -> str:
        """Index the folder."""
        job_id = self.ledger.create_job(COLLECTION, [self._folder], SourceFields(), options)
        self.note(f"job {job_id[:8]} is submitted")
        self.queue.messages.append(("job", job_id))
        return job_id

    def push(self) -> None:
        """Push or delete a document."""
        if not self.store.exists:
            return
        key = f"p{self.dice.randrange(4)}"
        if self.dice.random() < 0.35:
            self.note(f"{key} is deleted by a client")
            self.ledger.delete_documents(COLLECTION, [key])
            for point in [point for point, (name, _, _) in self.store.points.items() if name == key]:
                del self.store.points[point]
            self.pushed[key] = {None}
            self._pushed_by.pop(key, None)
            return
        text = self._text(may_be_poisonous=False)
        self._pushed_by[key], partition = self.ledger.push_documents(
            COLLECTION, json.dumps({"id": key, "text": text}).encode(), 1
        )
        self.note(f"{key} is pushed as partition {partition}: {text}")
        self.queue.messages.append(("partition", partition))
        self.pushed[key] = {text}

    def _text(self, *, may_be_poisonous: bool = True) -> str:
        if may_be_poisonous and self.dice.random() < 0.02:
            return POISON
        parts = self.dice.randint(1, 4)
        return "|".join(f"t{self.dice.randrange(10_000)}" for _ in range(parts))

    def cancel(self) -> None:
        """Cancel a job."""
        running = [job for job in self.ledger.jobs(20) if not job.progress.state.is_ended]
        if running:
            job = self.dice.choice(running)
            if job.paths != ("(pushed)",):
                self.note(f"job {job.id[:8]} is cancelled")
                self.ledger.cancel_job(job.id)
                for actor in self._actors:
                    actor.is_spared = True

    def change_words(self) -> None:
        """Add some words, or remove some; what a client asks for twice it has asked for once."""
        forms = {f"t{self.dice.randrange(10)}" for _ in range(3)}
        collections = [COLLECTION] if self.store.exists else []
        book = self.ledger.dictionary
        if self.dice.random() < 0.6:
            change = book.put([UserWord(form) for form in sorted(forms)], collections, self.now)
        else:
            change = book.remove(forms, collections, self.now)
        self.note(f"dictionary {change.version}: {', '.join(word.form for word in book.words().words)}")

    def _think(self) -> None:
        """Take no time over a text, or so much that others get on."""
        if self.acting is not None and self.dice.random() < 0.05:
            for _ in range(40):
                self.give_way()

    def _open_reanalyses(self) -> int:
        return sum(not each.state.is_ended for each in self.ledger.dictionary.reanalyses(1000))

    def _died_on(self, key: str) -> bool:
        """Tell whether so many workers died on the last push of a document that it was given up."""
        job_id = self._pushed_by.get(key)
        return job_id is not None and self.ledger.progress(job_id).documents_rejected > 0

    def retry(self) -> None:
        """Retry a job."""
        ended = [job for job in self.ledger.jobs(20) if job.progress.state.is_ended]
        if ended:
            try:
                job_id = self.ledger.retry_job(self.dice.choice(ended).id, "")
            except KosearchError:
                return
            self.note(f"job {job_id[:8]} retries")
            self.queue.messages.append(("job", job_id))

    # What must hold

    def come_to_rest(self) -> None:
        """Let everything end without further trouble. Raises StuckError when it does not."""
        self.has_trouble = False
        for _ in range(_STEPS_TO_REST):
            if (
                not self.ledger.open_jobs()
                and not self._open_reanalyses()
                and not any(actor.leases for actor in self._actors)
                and not self.queue.messages
            ):
                return
            for _ in range(10):
                self.step()
        stuck = [job for job in self.ledger.jobs(1000) if not job.progress.state.is_ended]
        raise StuckError(f"no end of {stuck}, {self._open_reanalyses()} reanalyses, {self.queue.messages}")

    def check(self, job_id: str) -> None:
        """Check the store against the sources, after a last job on all of them."""
        progress = self.ledger.progress(job_id)
        assert progress.state is JobState.SUCCEEDED, progress
        stored = self.store.documents()
        expected: dict[str, set[str | None]] = {
            key: {text if POISON not in text else None}
            for documents in self.files.values()
            for key, text in documents.items()
        }
        expected |= self.pushed
        for key, texts in expected.items():
            if key in self.pushed and self._died_on(key):
                continue
            found = "|".join(text for _, text in sorted(stored.get(key, {}).items())) or None
            if texts == {None} and found is not None and not key.startswith("p"):
                continue  # an earlier version of what has become poisonous
            assert found in texts, f"{key}: {found} is stored, not {texts}"
            assert sorted(stored.get(key, {})) == list(range(len(stored.get(key, {})))), f"{key}: {stored[key]}"
        assert stored.keys() <= expected.keys(), f"never deleted: {stored.keys() - expected.keys()}"
        rejected = {rejection.reason for rejection in self.ledger.rejections(job_id)}
        assert rejected <= {"worker_died"}, rejected
        total = progress.documents_indexed + progress.documents_rejected + progress.documents_unchanged
        assert total == progress.documents_total, progress
        self._check_words()

    def _check_words(self) -> None:
        """Check that each point has the words of its text by the last dictionary."""
        reanalyses = self.ledger.dictionary.reanalyses(1000)
        if any(each.state is ReanalysisState.FAILED for each in reanalyses):
            assert any("workers died" in each.error for each in reanalyses)
            return  # three workers died on the same points
        analyser = PartsAnalyser(self.ledger.dictionary.words(), lambda: None)
        for point, (name, index, text) in self.store.points.items():
            found, expected = self.store.words[point], analyser.document_vector("", text)
            assert found.indices.tolist() == expected.indices.tolist(), f"{name}.{index}={text} ({point}): other words"


def run_seed(seed: int, *, traces: bool = False) -> dict[str, int]:
    """Run one history. Returns a few counts. Raises AssertionError when something does not hold."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(seed, Path(folder), traces=traces)
        try:
            _run(world)
            return {"jobs": len(world.ledger.jobs(1000)), "points": len(world.store.points)}
        finally:
            world.ledger.close()


def _run(world: World) -> None:
    world.change_files()
    world.submit()
    for _ in range(_STEPS_OF_TROUBLE):
        world.step()
        event = world.dice.random()
        if event < 0.02:
            world.change_files()
        elif event < 0.03:
            world.submit(JobOptions(rereads=world.dice.random() < 0.3))
        elif event < 0.06:
            world.push()
        elif event < 0.065:
            world.cancel()
        elif event < 0.075:
            world.retry()
        elif event < 0.1:
            world.change_words()
    world.come_to_rest()
    # What was left out while files changed, or stands behind a cancelled job, is for the next one.
    if not world.files:
        world.change_files()
    world.submit()
    world.come_to_rest()
    last = world.submit()
    world.come_to_rest()
    world.check(last)


def main() -> int:
    """Run one seed, or many."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--seeds", type=int, nargs=2, metavar=("FIRST", "END"))
    parser.add_argument("--trace", action="store_true")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50 if not given.trace else 20))
    first, end = given.seeds or (given.seed, given.seed + 1)
    failed: dict[int, str] = {}
    began = time.monotonic()
    for seed in range(first, end):
        try:
            run_seed(seed, traces=given.trace)
        except Exception as error:
            failed[seed] = f"{type(error).__name__}: {error}"
            if given.trace:
                raise
            print(seed, failed[seed], file=sys.stderr)  # noqa: T201
    seconds = time.monotonic() - began
    print(json.dumps({"seeds": end - first, "failed": failed, "seconds": round(seconds, 1)}))  # noqa: T201
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
