"""A worker process at its workplace: a real ledger, fakes for encoder service, Qdrant and broker.

What the worker does with its tasks is in `test_worker`; here is what the workplace adds: a model, and patience.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stamina
from tokenizers import Tokenizer, models, pre_tokenizers

from indexer_worker import tasks
from indexer_worker.tasks import Workplace
from kosearch.client import Encoded, ModelInfo
from kosearch.errors import ConflictError, OverloadedError, UnavailableError
from kosearch.jobs import JobProgress, JobState, SourceFields
from kosearch.ledger import Ledger
from kosearch.model_directory import ModelDirectory, seal_model_directory
from kosearch.settings import EncoderSettings, Settings

DIM = 4


@dataclass
class FakeClient:
    """The encoder service."""

    model: ModelDirectory
    errors: list[Exception] = field(default_factory=list)
    is_away: bool = False

    def close(self) -> None: ...

    def info(self) -> ModelInfo:
        if self.is_away:
            raise UnavailableError("the encoder service is away")
        return ModelInfo(self.model.name, self.model.fingerprint, DIM, self.model.max_tokens, 1024)

    def encode(self, texts: Sequence[str], role: str, *, is_bulk: bool) -> Encoded:
        assert (role, is_bulk) == ("document", True)
        if self.errors:
            raise self.errors.pop(0)
        rows = np.ones((len(texts), DIM), dtype=np.float32)
        return Encoded(rows, (1,) * len(texts), (False,) * len(texts), self.model.fingerprint)


@dataclass
class FakeStore:
    """Qdrant: points by id, for one collection."""

    points: dict[str, str] = field(default_factory=dict)
    errors: list[Exception] = field(default_factory=list)
    is_made: bool = False
    stale_deletions: int = 0
    field_types: dict[str, str] = field(default_factory=dict)

    def check_version(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "1.20.0"

    def check_collection(self, *_: Any) -> bool:
        return self.is_made

    def count(self, _: str) -> int:
        return len(self.points)

    def is_index_deferred(self, _: str) -> bool:
        return False

    def ensure_collection(self, _collection: str, _dim: int, _name: str, _print: str, field_types: Any) -> None:
        self.is_made = True
        self.field_types = dict(field_types)

    def upsert_chunks(self, _: str, chunks: Any, embeddings: Any, words: Any, *, wait: bool) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.points |= {chunk.point_id: chunk.text for chunk in chunks}

    def delete_stale_chunks(self, _collection: str, _chunks: Any) -> None:
        self.stale_deletions += 1

    def close(self) -> None: ...


@dataclass
class FakeQueue:
    """The broker."""

    partitions: list[int] = field(default_factory=list)
    is_away: bool = False

    def send_partitions(self, partition_ids: Iterable[int]) -> None:
        if self.is_away:
            raise UnavailableError("the broker is away")
        self.partitions += partition_ids

    def close(self) -> None: ...


@dataclass
class Bench:
    """A workplace between its neighbours."""

    ledger: Ledger
    client: FakeClient
    store: FakeStore
    queue: FakeQueue
    workplace: Workplace
    folder: Path

    def submit(self, documents: int, name: str = "a.jsonl") -> str:
        path = self.folder / name
        path.write_text(
            "".join(json.dumps({"id": f"{name}{n}", "text": "글", "year": n}) + "\n" for n in range(documents))
        )
        return self.ledger.create_job("laws", [path], SourceFields())

    def progress(self, job_id: str) -> JobProgress:
        return self.ledger.progress(job_id)

    def run(self, job_id: str) -> JobProgress:
        """Plan a job and index all that was sent."""
        self.workplace.worker.advance(job_id)
        while self.queue.partitions:
            self.workplace.worker.index(self.queue.partitions.pop(0))
        return self.progress(job_id)


def make_model(path: Path, name: str = "tiny") -> ModelDirectory:
    """Write what a worker needs of a model: a tokenizer, and files that make a fingerprint."""
    (path / "1_Pooling").mkdir(parents=True)
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path / "tokenizer.json"))
    for file in ("config.json", "modules.json", "1_Pooling/config.json"):
        (path / file).write_text("{}")
    (path / "model.safetensors").write_text(name)
    return seal_model_directory(path, name, 16, ["글"], np.ones((1, DIM), dtype=np.float32))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    model = make_model(tmp_path / "model")
    client, store, queue = FakeClient(model), FakeStore(), FakeQueue()
    monkeypatch.setattr(tasks, "Client", lambda _: client)
    monkeypatch.setattr(tasks, "VectorStore", lambda _: store)
    monkeypatch.setattr(tasks, "TaskQueue", lambda _: queue)
    settings = Settings(data_dir=tmp_path, encoder=EncoderSettings(model=model.path))
    ledger = Ledger(settings.ledger_url)
    workplace = Workplace(settings)
    # Two tries without a pause between them.
    with stamina.set_testing(True, attempts=2):
        yield Bench(ledger, client, store, queue, workplace, tmp_path)
    workplace.close()
    ledger.close()


def test_a_job_is_planned_indexed_and_ended(bench: Bench) -> None:
    """From the ledger to the store and back."""
    progress = bench.run(bench.submit(3))
    assert (progress.state, progress.documents_indexed, progress.chunks_indexed) == (JobState.SUCCEEDED, 3, 3)
    assert len(bench.store.points) == 3
    assert bench.store.field_types == {"year": "integer"}


def test_tasks_of_nothing_do_nothing(bench: Bench) -> None:
    """Tasks that outlived their ledger are passed over."""
    bench.workplace.worker.advance("nonsense")
    bench.workplace.worker.index(4711)


def test_the_first_job_of_a_collection_replaces_nothing(bench: Bench) -> None:
    """Only a job on a collection with points looks for stale chunks."""
    bench.run(bench.submit(3))
    assert bench.store.stale_deletions == 0
    bench.run(bench.submit(2, "b.jsonl"))
    assert bench.store.stale_deletions == 1


def test_a_short_absence_is_waited_out(bench: Bench) -> None:
    """A neighbour that answers at the second try costs nothing but the wait."""
    bench.client.errors = [OverloadedError("full", 0.1)]
    assert bench.run(bench.submit(3)).state is JobState.SUCCEEDED


def test_a_long_absence_postpones_the_partition(bench: Bench) -> None:
    """The partition is given back with the reason, does not fail, and is finished when it is sent again."""
    job_id = bench.submit(3)
    bench.workplace.worker.advance(job_id)
    (only,) = bench.queue.partitions
    for _ in range(10):
        bench.store.errors = [UnavailableError("Qdrant is away")] * 2
        bench.workplace.worker.index(only)
    progress = bench.progress(job_id)
    assert (progress.state, progress.error) == (JobState.RUNNING, "Qdrant is away")
    bench.workplace.worker.index(only)
    assert bench.progress(job_id).state is JobState.SUCCEEDED


@pytest.mark.parametrize("neighbour", ["encoder", "store"])
def test_a_neighbour_that_is_away_postpones_the_planning(neighbour: str, bench: Bench) -> None:
    """The job waits, says for what, and is planned later."""
    job_id = bench.submit(3)
    if neighbour == "encoder":
        bench.client.is_away = True
    else:
        bench.store.errors = [UnavailableError("Qdrant is away")]
    bench.workplace.worker.advance(job_id)
    progress = bench.progress(job_id)
    assert progress.state is JobState.PENDING
    assert "away" in progress.error
    bench.client.is_away = False
    assert bench.run(job_id).state is JobState.SUCCEEDED


def test_an_error_that_time_does_not_heal_fails_the_job(bench: Bench) -> None:
    """The reason is in the ledger, for the user to read."""
    job_id = bench.submit(3)
    bench.store.errors = [ConflictError("Qdrant is too old")]
    bench.workplace.worker.advance(job_id)
    progress = bench.progress(job_id)
    assert (progress.state, progress.error) == (JobState.FAILED, "Qdrant is too old")


def test_a_worker_with_another_model_on_disk_fails_the_job(bench: Bench) -> None:
    """Chunks cut for one model are not encoded by another; the message names both and the setting."""
    bench.client.model = make_model(bench.folder / "other", "other")
    progress = bench.run(bench.submit(3))
    assert progress.state is JobState.FAILED
    assert all(word in progress.error for word in ("other", "tiny", "KOSEARCH_ENCODER__MODEL"))


def test_a_served_model_that_changed_on_disk_too_is_taken(bench: Bench) -> None:
    """After a new model was put in place and the service restarted, the worker goes on with it."""
    bench.run(bench.submit(3))
    (bench.folder / "model").rename(bench.folder / "old")
    bench.client.model = make_model(bench.folder / "model", "newer")
    assert bench.run(bench.submit(2, "b.jsonl")).state is JobState.SUCCEEDED
    # What was stored with the former one is stale.
    assert bench.run(bench.submit(3)).documents_indexed == 3


def test_partitions_that_cannot_be_sent_stay_in_the_ledger(bench: Bench) -> None:
    """A broker that is away after the planning does not undo the plan."""
    job_id = bench.submit(3)
    bench.queue.is_away = True
    bench.workplace.worker.advance(job_id)
    assert bench.progress(job_id).state is JobState.RUNNING


def test_a_defect_leaves_the_partition_to_its_lease(bench: Bench) -> None:
    """An error nobody expected is raised for the log; the lease brings the work back."""
    job_id = bench.submit(1)
    bench.workplace.worker.advance(job_id)
    bench.store.errors = [ZeroDivisionError()]
    with pytest.raises(ZeroDivisionError):
        bench.workplace.worker.index(bench.queue.partitions.pop())
    assert bench.progress(job_id).state is JobState.RUNNING
