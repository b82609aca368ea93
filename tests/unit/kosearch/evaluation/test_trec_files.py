"""Test sets as files, and what is said of bad ones."""

import gzip
from pathlib import Path

import pytest

from kosearch.errors import InvalidRequestError
from kosearch.evaluation.trec_files import JudgedQuery, read_judged_queries, read_queries

QUERIES = "q1\t판결은 언제?\nq2\t세금\n"


def write(folder: Path, queries: str = QUERIES, qrels: str = "q1 0 a 1\nq2 0 b 2\n") -> tuple[Path, Path]:
    paths = folder / "queries.tsv", folder / "qrels.tsv"
    for path, text in zip(paths, (queries, qrels), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def test_a_test_set_is_read(tmp_path: Path) -> None:
    judged = read_judged_queries(*write(tmp_path))
    assert judged.queries == [JudgedQuery("q1", "판결은 언제?", {"a": 1}), JudgedQuery("q2", "세금", {"b": 2})]
    assert judged.relevant_documents() == {"a", "b"}


@pytest.mark.parametrize("qrels", ["q1\t0\tmy file.hwp\t1\n", "\n\nq1\t0\tmy file.hwp\t1\r\n"])
def test_between_tabs_an_id_may_hold_spaces(tmp_path: Path, qrels: str) -> None:
    """Ids of files are paths."""
    assert read_judged_queries(*write(tmp_path, qrels=qrels)).queries[0].relevance == {"my file.hwp": 1}


def test_several_spaces_separate_as_one(tmp_path: Path) -> None:
    assert read_judged_queries(*write(tmp_path, qrels="q1  Q0   a \t 1\n")).queries[0].relevance == {"a": 1}


def test_passages_make_pages_with_their_best_relevance(tmp_path: Path) -> None:
    paths = write(tmp_path, qrels="q1 0 page#0 0\nq1 0 page#1 2\nq1 0 page#2 1\nq1 0 other#0 0\n")
    assert read_judged_queries(*paths, "#").queries[0].relevance == {"page": 2, "other": 0}
    assert read_judged_queries(*paths).queries[0].relevance.keys() == {"page#0", "page#1", "page#2", "other#0"}


def test_queries_without_a_relevant_document_are_counted_and_left_out(tmp_path: Path) -> None:
    judged = read_judged_queries(*write(tmp_path, qrels="q1 0 a 1\nq2 0 b 0\n"))
    assert [query.id for query in judged.queries] == ["q1"]
    assert judged.without_relevant == 1


def test_gzipped_files_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "queries.tsv.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbfq1\ttext\n"))
    assert read_queries(path) == {"q1": "text"}


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ("q1\t하나\nq2 둘\n", r"queries\.tsv:2: no tab"),
        ("q1\t하나\n\nq1\t둘\n", r"queries\.tsv:3: query id 'q1' stands twice"),
        ("q1\t \n", r"queries\.tsv:1: the text is empty"),
        ("\t하나\n", r"queries\.tsv:1: the query id is empty"),
        ("", r"queries\.tsv: holds no query"),
        ("\n\n", r"queries\.tsv: holds no query"),
    ],
)
def test_a_bad_line_of_queries_is_named(tmp_path: Path, queries: str, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        read_judged_queries(*write(tmp_path, queries=queries))


@pytest.mark.parametrize(
    ("qrels", "message"),
    [
        ("q1 0 a 1\nq9 0 a 1\n", r"qrels\.tsv:2: query id 'q9' is not in .*queries\.tsv"),
        ("q1 0 a\n", r"qrels\.tsv:1: expected .* found 3 columns"),
        ("q1 0 a b 1\n", r"qrels\.tsv:1: expected .* found 5 columns"),
        ("q1 0 a yes\n", r"qrels\.tsv:1: relevance 'yes' is no whole number"),
        ("q1 0 a 1\nq1 0 b 1\nq1 0 a 0\n", r"qrels\.tsv:3: 'a' is judged twice for query 'q1'"),
        ("", r"qrels\.tsv: holds no judgement"),
        ("q1 0 a 0\n", r"no query of .* has a relevant document"),
    ],
)
def test_a_bad_line_of_judgements_is_named(tmp_path: Path, qrels: str, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        read_judged_queries(*write(tmp_path, qrels=qrels))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    queries, qrels = write(tmp_path)
    with pytest.raises(InvalidRequestError, match=r"absent\.tsv: file is missing"):
        read_judged_queries(tmp_path / "absent.tsv", qrels)
    with pytest.raises(InvalidRequestError, match=r"absent\.tsv: file is missing"):
        read_judged_queries(queries, tmp_path / "absent.tsv")


@pytest.mark.parametrize(
    ("name", "content"),
    [("q.tsv", "q1\t하나\nq2\t둘\n".encode("cp949")), ("q.tsv.gz", b"no gzip"), ("q.tsv.gz", gzip.compress(b"q")[:-4])],
    ids=["another encoding", "not packed", "cut off"],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidRequestError, match=rf"{name}:1: "):
        read_queries(tmp_path / name)
