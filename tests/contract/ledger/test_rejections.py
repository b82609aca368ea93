"""Dead letters, and how a user finds one."""

from kosearch.jobs import StoredDocument
from kosearch.ledger import Ledger
from tests.contract.ledger.steps import LAWS, index, plan, push, rejection, stored, take, version


def test_rejections_come_in_order_and_whole(ledger: Ledger) -> None:
    """Every rejection is listed as it was planned, across the ledger's own batches."""
    planned = [rejection(line) for line in range(1, 12_001)]
    job_id, _ = plan(ledger, 1, rejections=planned)
    assert list(ledger.rejections(job_id)) == planned


def test_each_job_lists_its_own_rejections(ledger: Ledger) -> None:
    """Two jobs on one file keep their lists apart."""
    one, _ = plan(ledger, rejections=[rejection(1)])
    other, _ = plan(ledger, rejections=[rejection(2)])
    assert [row.line for row in ledger.rejections(one)] == [1]
    assert [row.line for row in ledger.rejections(other)] == [2]


def test_what_is_left_out_is_counted_by_documents(ledger: Ledger) -> None:
    """A whole file may stand for many."""
    job_id, _ = plan(
        ledger,
        rejections=[
            rejection(1, "malformed_json"),
            rejection(2, "malformed_json"),
            rejection(3, "empty_text"),
            rejection(4, "bad_id"),
            rejection(0, "changed_while_read", documents=40),
        ],
    )
    plan(ledger, rejections=[rejection(9, "no_text")])
    assert ledger.progress(job_id).documents_rejected == 44


def test_a_job_that_left_out_nothing_names_no_paths(ledger: Ledger) -> None:
    job = index(ledger, version("가"))
    assert ledger.rejected_paths(job.id, "") == set()


def test_paths_of_what_was_left_out(ledger: Ledger) -> None:
    """Each once, for any reason or for one."""
    job_id, _ = plan(
        ledger,
        rejections=[
            rejection(1, "malformed_json", "/a"),
            rejection(2, "malformed_json", "/a"),
            rejection(0, "unreadable_file", "/b"),
        ],
    )
    assert ledger.rejected_paths(job_id, "") == {"/a", "/b"}
    assert ledger.rejected_paths(job_id, "unreadable_file") == {"/b"}
    assert ledger.rejected_paths(job_id, "no_text") == set()


# Why a document is not found


def test_a_stored_document_is_found_in_every_collection(ledger: Ledger) -> None:
    """With the number of its chunks and the job whose version it is."""
    laws = index(ledger, version("가", chunks=3), collection="laws")
    cases = index(ledger, version("가", chunks=4), collection="cases")
    stored_ones, rejected = ledger.find_document("가", 10)
    assert sorted(stored_ones, key=lambda each: each.chunks) == [
        StoredDocument("laws", "가", 3, laws.id),
        StoredDocument("cases", "가", 4, cases.id),
    ]
    assert rejected == []


def test_a_deleted_document_is_found_without_chunks(ledger: Ledger) -> None:
    """And it says which job deleted it."""
    index(ledger, version("가"))
    ledger.delete_documents("laws", ["가"])
    (found,), _ = ledger.find_document("가", 10)
    assert (found.chunks, found.job_id) == (0, ledger.jobs(1)[0].id)


def test_what_was_wrong_with_a_document_is_found(ledger: Ledger) -> None:
    """The newest first, as many as were asked for."""
    jobs = [plan(ledger, rejections=[rejection(line), rejection(5)])[0] for line in (1, 2, 3)]
    _, rejected = ledger.find_document("id5", 10)
    assert rejected == [(job_id, rejection(5)) for job_id in reversed(jobs)]
    assert len(ledger.find_document("id5", 2)[1]) == 2


def test_what_was_wrong_with_a_file_is_found(ledger: Ledger) -> None:
    """By its path."""
    job_id, _ = plan(ledger, rejections=[rejection(0, "encrypted", "/b")])
    assert ledger.find_document("/b", 10) == ([], [(job_id, rejection(0, "encrypted", "/b"))])
    assert ledger.find_document(str(LAWS.path), 10) == ([], [])


def test_a_pushed_document_is_found(ledger: Ledger) -> None:
    """By the job that its client was told."""
    job_id, number = push(ledger, "가")
    stored(ledger, take(ledger, number), version("가"))
    assert ledger.find_document("가", 10) == ([StoredDocument("laws", "가", 2, job_id)], [])
