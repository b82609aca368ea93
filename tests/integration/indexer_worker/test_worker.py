"""From a file to points in the store: a real worker between real neighbours."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import models

from kosearch.documents import Document
from kosearch.errors import ConflictError, NotFoundError
from kosearch.jobs import JobOptions, JobState, SourceFields
from kosearch.search_client import SearchOptions
from tests.integration.indexer_worker.conftest import KEY, Stack
from tests.integration.indexer_worker.neighbours import environment

pytestmark = pytest.mark.timeout(240)

LONG_TEXT = "원숭이 한 마리가 드럼을 연주한다. " * 60


def write(path: Path, *documents: object) -> Path:
    lines = (each if isinstance(each, str) else json.dumps(each, ensure_ascii=False) for each in documents)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_good_lines_are_stored_and_bad_ones_listed(stack: Stack, tmp_path: Path) -> None:
    """Exact counts over several partitions, each fault with line and reason."""
    good = [{"id": f"d{n}", "text": f"치타 {n}", "title": "동물", "year": 2000 + n} for n in range(25)]
    bad = [
        '{"id": "x"',
        '{"id": "y"}',
        '{"id": "z", "text": ""}',
        json.dumps({"id": "w", "text": "치" * 20_000}),
        good[3],
    ]
    path = write(tmp_path / "a.jsonl", *good[:12], *bad, "", *good[12:])
    progress, rejections = stack.index(path, "exact")
    assert (progress.state, progress.error) == (JobState.SUCCEEDED, "")
    assert (progress.documents_total, progress.documents_indexed, progress.documents_rejected) == (30, 25, 5)
    assert [(each.path, each.line, each.reason) for each in rejections] == [
        (str(path), 13, "malformed_json"),
        (str(path), 14, "missing_field"),
        (str(path), 15, "empty_text"),
        (str(path), 16, "line_too_long"),
        (str(path), 17, "duplicate_id"),
    ]
    assert stack.texts("exact") == {(f"d{n}", 0): f"치타 {n}" for n in range(25)}
    assert stack.vectors.count("exact") == progress.chunks_indexed == 25


def test_what_was_indexed_is_found(stack: Stack, tmp_path: Path) -> None:
    """A search answers with the text, the title and the fields of the document, and filters by them."""
    documents = [
        {"id": f"d{n}", "text": "한 남자가 음식을 먹는다." if n == 7 else f"치타 {n}", "published at": n}
        for n in range(20)
    ]
    stack.index(write(tmp_path / "a.jsonl", *documents), "found")
    best, *_ = stack.client.search("한 남자가 음식을 먹는다.", "found", top_k=3, options=SearchOptions(mode="dense"))
    assert (best.id, best.payload) == ("d7", {"published at": 7})
    assert best.score == pytest.approx(1, abs=1e-3)


def test_a_shrunken_document_leaves_no_stale_chunks(stack: Stack, tmp_path: Path) -> None:
    """Indexing a shorter version removes the chunks it no longer has, and no one else's."""
    path = write(tmp_path / "a.jsonl", {"id": "long", "text": LONG_TEXT}, {"id": "other", "text": LONG_TEXT})
    before, _ = stack.index(path, "shrunken")
    chunks = stack.vectors.count("shrunken")
    assert chunks == before.chunks_indexed > 4
    again, _ = stack.index(write(tmp_path / "b.jsonl", {"id": "long", "text": "짧은 글"}), "shrunken")
    assert again.chunks_indexed == 1
    left = stack.texts("shrunken")
    assert left[("long", 0)] == "짧은 글"
    assert len(left) == 1 + chunks // 2


def test_indexing_twice_changes_nothing(stack: Stack, tmp_path: Path) -> None:
    """The same file again gives the same points, and costs nothing."""
    path = write(tmp_path / "a.jsonl", *({"id": n, "text": f"치타 {n}"} for n in range(15)))
    stack.index(path, "twice")
    first = stack.texts("twice")
    again, _ = stack.index(path, "twice")
    assert (again.documents_unchanged, again.documents_indexed) == (15, 0)
    assert stack.texts("twice") == first


def test_a_collection_follows_its_folder(stack: Stack, tmp_path: Path) -> None:
    """What changed is stored, what vanished is removed, and what stayed is left alone."""
    write(tmp_path / "a.jsonl", *({"id": f"a{n}", "text": f"치타 {n}"} for n in range(15)))
    gone = write(tmp_path / "b.jsonl", *({"id": f"b{n}", "text": f"고릴라 {n}"} for n in range(15)))
    stack.index(tmp_path, "folder")
    gone.unlink()
    write(tmp_path / "a.jsonl", *({"id": f"a{n}", "text": f"치타 {max(n, 5)}"} for n in range(12)))
    progress, _ = stack.index(tmp_path, "folder")
    assert (progress.documents_indexed, progress.documents_unchanged, progress.documents_removed) == (5, 7, 3 + 15)
    assert stack.texts("folder") == {(f"a{n}", 0): f"치타 {max(n, 5)}" for n in range(12)}


def test_a_collection_that_was_deleted_is_made_anew(stack: Stack, tmp_path: Path) -> None:
    """The ledger still knows its documents, and is not believed."""
    path = write(tmp_path / "a.jsonl", *({"id": n, "text": f"치타 {n}"} for n in range(15)))
    stack.index(path, "remade")
    client = stack.store.client(headers={"api-key": KEY})
    client.delete_collection("remade")
    client.close()
    progress, _ = stack.index(path, "remade")
    assert (progress.documents_indexed, len(stack.texts("remade"))) == (15, 15)


def test_equal_content_is_stored_once_when_that_is_wanted(stack: Stack, tmp_path: Path) -> None:
    """The others are listed with the one that is stored."""
    path = write(tmp_path / "a.jsonl", *({"id": n, "text": f"치타 {n % 5}"} for n in range(25)))
    progress, rejections = stack.index(path, "unique", options=JobOptions(drops_duplicates=True))
    assert (progress.documents_indexed, {each.reason for each in rejections}) == (5, {"duplicate_content"})
    assert len(stack.texts("unique")) == 5


def test_a_fault_is_found_by_document_and_retried(stack: Stack, tmp_path: Path) -> None:
    """From the job to the dead letter and, once the file was mended, into the collection."""
    path = write(tmp_path / "a.jsonl", {"id": "r1", "text": "치타"}, {"id": "r2", "text": ""})
    write(tmp_path / "b.jsonl", {"id": "r3", "text": "고릴라"})
    job_id = stack.client.submit_job("retried", [tmp_path], SourceFields())
    list(stack.client.watch_job(job_id))
    _, dead_letters = stack.client.find_document("r2")
    assert [(found, each.reason) for found, each in dead_letters] == [(job_id, "empty_text")]
    write(path, {"id": "r1", "text": "치타"}, {"id": "r2", "text": "원숭이"})
    *_, last = stack.client.watch_job(stack.client.retry_job(job_id))
    assert (last.documents_indexed, last.documents_unchanged) == (1, 1)
    (stored,), _ = stack.client.find_document("r2")
    assert (stored.collection, stored.chunks) == ("retried", 1)


def test_pushed_documents_are_found_before_a_job_has_ended(stack: Stack, tmp_path: Path) -> None:
    """A large job keeps nobody waiting: while it runs, a document is pushed, found, pushed again, and deleted."""
    path = write(tmp_path / "a.jsonl", *({"id": f"bulk{n}", "text": f"{LONG_TEXT} {n}"} for n in range(600)))
    job_id = stack.client.submit_job("pushed", [path], SourceFields())
    progress = stack.client.watch_job(job_id)
    while next(progress).documents_indexed == 0:
        pass
    started = time.monotonic()
    for text in ("한 남자가 음식을 먹는다.", "한 여자가 음식을 먹는다."):
        _, state = stack.client.push_documents("pushed", [Document("p", text, "", {"year": 2024})])
        assert state is JobState.SUCCEEDED
        best = stack.client.search(text, "pushed", top_k=1)[0]
        assert (best.id, best.text, best.payload) == ("p", text, {"year": 2024})
    pushed_s = time.monotonic() - started
    assert stack.client.delete_documents("pushed", ["p"]) == 1
    assert next(stack.client.watch_job(job_id)).state is JobState.RUNNING, f"the job ended within {pushed_s:.1f} s"
    stack.client.cancel_job(job_id)
    (stored,), _ = stack.client.find_document("p")
    assert stored.chunks == 0


def test_what_is_deleted_while_a_job_runs_stays_deleted(stack: Stack, tmp_path: Path) -> None:
    """Whether the job has stored it already or is yet to; its own count says what it passed over."""
    path = write(tmp_path / "a.jsonl", *({"id": f"x{n}", "text": f"{LONG_TEXT} {n}"} for n in range(120)))
    job_id = stack.client.submit_job("deletions", [path], SourceFields())
    progress = stack.client.watch_job(job_id)
    while next(progress).documents_indexed == 0:
        pass
    stack.client.delete_documents("deletions", ["x0", "x60", "x119"])
    *_, last = progress
    assert last.state is JobState.SUCCEEDED
    assert {name for name, _ in stack.texts("deletions")} == {f"x{n}" for n in range(120)} - {"x0", "x60", "x119"}


def test_a_cancelled_job_stops(stack: Stack, tmp_path: Path) -> None:
    """Soon, with what it has stored; the next job goes on from there."""
    path = write(tmp_path / "a.jsonl", *({"id": f"c{n}", "text": f"{LONG_TEXT} {n}"} for n in range(300)))
    job_id = stack.client.submit_job("cancelled", [path], SourceFields())
    progress = stack.client.watch_job(job_id)
    while next(progress).documents_indexed == 0:
        pass
    assert stack.client.cancel_job(job_id) is JobState.CANCELLED
    *_, last = progress
    assert (last.state, 0 < last.documents_indexed < 300) == (JobState.CANCELLED, True)
    again, _ = stack.index(path, "cancelled")
    assert again.state is JobState.SUCCEEDED
    assert again.documents_unchanged >= last.documents_indexed
    assert len({name for name, _ in stack.texts("cancelled")}) == 300


def test_deleted_documents_are_gone_with_all_their_chunks(stack: Stack, tmp_path: Path) -> None:
    """The count is that of the chunks; identifiers that do not exist are no error."""
    path = write(tmp_path / "a.jsonl", {"id": "긴 글", "text": LONG_TEXT}, {"id": "b", "text": "치타"})
    progress, _ = stack.index(path, "deleted")
    assert stack.client.delete_documents("deleted", ["긴 글", "없는 글"]) == progress.chunks_indexed - 1
    assert set(stack.texts("deleted")) == {("b", 0)}
    assert stack.client.delete_documents("deleted", ["긴 글"]) == 0


def test_a_table_with_other_columns_is_indexed(stack: Stack, tmp_path: Path) -> None:
    """CSV with quoted line breaks, over several partitions, with Korean column names."""
    path = tmp_path / "a.csv"
    path.write_text(
        "번호,내용\r\n" + "".join(f'{n},"첫 줄, {n}\r\n둘째 줄"\r\n' for n in range(25)), encoding="utf-8-sig"
    )
    progress, rejections = stack.index(path, "table", SourceFields("번호", "내용", "제목"))
    assert (progress.state, progress.documents_indexed, rejections) == (JobState.SUCCEEDED, 25, [])


def test_odd_documents_do_not_stop_the_job(stack: Stack, tmp_path: Path) -> None:
    """Names and values that the wire cannot carry as they are cost at most their own line."""
    deep: object = "끝"
    for _ in range(50):
        deep = {"안": deep}
    moderately: object = "끝"
    for _ in range(18):
        moderately = {"안": moderately}
    odd = [
        {"id": 1, "text": "글", "published at": 1, "@type": "a", "a/b": True, "a.b": 1, "": 1, 'a"b': 1, "a\\b": "x"},
        {"id": 2, "text": "글", "n": 2**64 - 1, "m": -(2**63)},
        {"id": 3, "text": "글", "deep": deep},
        {"id": 4, "text": "글", "deep": moderately, "list": [1, "x", None, {"b": []}]},
    ]
    progress, rejections = stack.index(write(tmp_path / "a.jsonl", *odd), "odd")
    assert (progress.state, progress.error) == (JobState.SUCCEEDED, "")
    assert [(each.line, each.reason) for each in rejections] == [(3, "nested_too_deep")]
    assert {hit.id for hit in stack.client.search("글", "odd")} == {"1", "2", "4"}


def test_a_job_of_faults_only_makes_no_collection(stack: Stack, tmp_path: Path) -> None:
    """An empty file and a missing one are listed; nothing is left behind."""
    progress, rejections = stack.index(write(tmp_path / "a.jsonl", ""), "faults")
    assert (progress.state, [each.reason for each in rejections]) == (JobState.SUCCEEDED, ["empty_file"])
    progress, rejections = stack.index(tmp_path / "gone.jsonl", "faults")
    assert (progress.state, [each.reason for each in rejections]) == (JobState.SUCCEEDED, ["no_such_path"])
    with pytest.raises(NotFoundError):
        stack.vectors.count("faults")


def test_an_unknown_collection_is_named(stack: Stack) -> None:
    """Searching and deleting say what does not exist and how to make it."""
    with pytest.raises(NotFoundError, match=r"'nowhere'.*kosearch index"):
        stack.client.search("치타", "nowhere")
    with pytest.raises(NotFoundError, match=r"'nowhere'.*kosearch index"):
        stack.client.delete_documents("nowhere", ["a"])


@pytest.mark.parametrize(("dim", "fingerprint"), [(32, "0" * 64), (8, "0" * 64)])
def test_a_collection_of_another_model_is_refused(dim: int, fingerprint: str, stack: Stack, tmp_path: Path) -> None:
    """Another model, and another dimension, are refused at the submission and at the search."""
    collection = f"other-{dim}"
    stack.vectors.ensure_collection(collection, dim, "other-model", fingerprint, {})
    with pytest.raises(ConflictError, match="other-model"):
        stack.index(write(tmp_path / "a.jsonl", {"id": 1, "text": "글"}), collection)
    with pytest.raises(ConflictError, match="other-model"):
        stack.client.search("치타", collection)


def test_a_collection_without_a_model_of_ours_is_refused(stack: Stack, tmp_path: Path) -> None:
    """A collection that some other program made is not written to."""
    client = stack.store.client(headers={"api-key": KEY})
    client.create_collection("foreign", models.VectorParams(size=32, distance=models.Distance.COSINE))
    client.close()
    with pytest.raises(ConflictError, match="unknown model"):
        stack.index(write(tmp_path / "a.jsonl", {"id": 1, "text": "글"}), "foreign")


def test_embeddings_are_stored_as_the_service_gives_them(stack: Stack, tmp_path: Path) -> None:
    """What lies in the store is what Encode answers for title and text."""
    stack.index(write(tmp_path / "a.jsonl", {"id": 1, "text": "한 남자가\n먹는다.", "title": "음식"}), "vectors")
    client = stack.store.client(headers={"api-key": KEY})
    ((point,), _) = client.scroll("vectors", with_vectors=True)
    client.close()
    expected = stack.client.encode(["음식 한 남자가 먹는다."]).embeddings[0]
    assert isinstance(point.vector, dict)
    np.testing.assert_allclose(np.array(point.vector[""]), expected, atol=1e-5)


def test_a_bad_setting_ends_the_worker_with_its_name(tmp_path: Path) -> None:
    """A misspelt variable is not ignored by a worker either."""
    refused = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "indexer_worker", "worker"],
        env=environment(KOSEARCH_DATA_DIR=str(tmp_path), KOSEARCH_WORKER__CONCURENCY="2"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert refused.returncode != 0
    assert "KOSEARCH_WORKER__CONCURENCY" in refused.stderr
