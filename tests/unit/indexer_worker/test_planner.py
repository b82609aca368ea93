"""The plan of a job: every document in exactly one span, every fault listed by line."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer_worker import planner
from indexer_worker.sources import source_of
from kosearch.documents import Document
from kosearch.errors import LeaseLostError, UnavailableError
from kosearch.field_kinds import FieldKinds
from kosearch.jobs import Rejection, SourceFields
from kosearch.ledger import Ledger
from kosearch.text import clean
from tests.unit.indexer_worker.sources import MAX_LINE_BYTES, plan, read_back


def line(document_id: object, text: str = "글") -> str:
    return json.dumps({"id": document_id, "text": text}, ensure_ascii=False)


def write(path: Path, *lines: str | bytes) -> Path:
    path.write_bytes(b"".join((each.encode() if isinstance(each, str) else each) + b"\n" for each in lines))
    return path


def faults(rejections: list[Rejection]) -> list[tuple[int, str]]:
    """Return (line, reason) of each rejection."""
    return [(each.line, each.reason) for each in rejections]


def test_good_lines_are_planned_and_bad_ones_listed(tmp_path: Path) -> None:
    """Each faulty line has its number and reason; all others are indexed."""
    path = write(
        tmp_path / "a.jsonl",
        line("가"),
        "{",
        "",
        '{"text": "식별자 없음"}',
        b'{"id": "x", "text": "\xb1\xdb"}',
        line("긴 줄", "가" * MAX_LINE_BYTES),
        line("가", "두 번째"),
        line("나"),
    )
    planned = plan(path)
    assert [document.id for document in read_back(planned)] == ["가", "나"]
    assert faults(planned.rejections) == [
        (2, "malformed_json"),
        (4, "missing_field"),
        (5, "invalid_utf8"),
        (6, "line_too_long"),
        (7, "duplicate_id"),
    ]
    assert {each.path for each in planned.rejections} == {str(path)}


def test_the_last_line_needs_no_end(tmp_path: Path) -> None:
    """A file that ends in the middle of a line, as many do, is read to its last byte."""
    (tmp_path / "a.jsonl").write_text(line(1) + "\n" + line(2))
    assert [document.id for document in read_back(plan(tmp_path / "a.jsonl"))] == ["1", "2"]


def test_windows_line_ends_are_read(tmp_path: Path) -> None:
    """CRLF is no part of the text, in any format."""
    (tmp_path / "a.jsonl").write_bytes(f"{line(1)}\r\n\r\n{line(2)}\r\n".encode())
    (tmp_path / "a.csv").write_bytes('id,text\r\n3,글\r\n4,"두\r\n줄"\r\n'.encode())
    (tmp_path / "a.tsv").write_bytes("id\ttext\r\n5\t글\r\n".encode())
    (tmp_path / "a.txt").write_bytes("글\r\n".encode())
    planned = plan(*(tmp_path / f"a.{suffix}" for suffix in ("jsonl", "csv", "tsv", "txt")))
    texts = {document.id: document.text for document in read_back(planned)}
    assert texts == {"1": "글", "2": "글", "3": "글", "4": "두\r\n줄", "5": "글", "a.txt:1": "글"}
    assert planned.rejections == []


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    """The first line of a file with a BOM is a document like the others."""
    path = write(tmp_path / "a.jsonl", "\ufeff" + line(1), line(2))
    assert [document.id for document in read_back(plan(path))] == ["1", "2"]


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff", "\ufeff\n", " \n\t\n"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.txt"])
def test_a_file_without_documents_is_listed_as_a_whole(name: str, content: str, tmp_path: Path) -> None:
    """An empty file is no silent success: it is listed with line 0."""
    (tmp_path / name).write_text(content)
    planned = plan(tmp_path / name)
    assert (planned.spans, faults(planned.rejections)) == ([], [(0, "empty_file")])


@pytest.mark.parametrize(("name", "header"), [("a.csv", "id,text\n"), ("a.tsv", "id\ttext\n\n")])
def test_a_table_of_a_header_only_is_empty(name: str, header: str, tmp_path: Path) -> None:
    """A header alone is no document."""
    (tmp_path / name).write_text(header)
    assert faults(plan(tmp_path / name).rejections) == [(0, "empty_file")]


@pytest.mark.parametrize("content", ["", "\ufeff"])
def test_an_empty_table_is_listed(content: str, tmp_path: Path) -> None:
    """A table without even a header is one rejection."""
    (tmp_path / "a.csv").write_text(content)
    assert len(plan(tmp_path / "a.csv").rejections) == 1


def test_a_table_without_the_column_is_one_rejection(tmp_path: Path) -> None:
    """A wrong field name is said once, not for each row."""
    planned = plan(write(tmp_path / "a.csv", "번호,내용", "1,가", "2,나"))
    assert (planned.spans, faults(planned.rejections)) == ([], [(1, "missing_field")])
    assert "--id-field" in planned.rejections[0].detail


def test_a_missing_file_is_listed_and_the_others_are_indexed(tmp_path: Path) -> None:
    """A file that vanished since the job was submitted does not stop the job."""
    planned = plan(tmp_path / "gone.jsonl", write(tmp_path / "a.jsonl", line(1)))
    assert faults(planned.rejections) == [(0, "no_such_path")]
    assert [document.id for document in read_back(planned)] == ["1"]


def test_an_unknown_format_is_listed(tmp_path: Path) -> None:
    """A file of another kind does not stop the job."""
    assert faults(plan(write(tmp_path / "a.xls", "x")).rejections) == [(0, "unknown_format")]


@pytest.mark.parametrize("suffix", [".zst", ".gz"])
def test_nothing_of_a_damaged_archive_is_planned(suffix: str, tmp_path: Path) -> None:
    """Half a file would look like success: the whole file is listed, and its identifiers are free for others."""
    lines = "".join(line(n, f"{n:0200}") + "\n" for n in range(2000)).encode()
    compress = zstandard.compress if suffix == ".zst" else gzip.compress
    damaged = tmp_path / f"a.jsonl{suffix}"
    damaged.write_bytes(compress(lines)[:-20])
    planned = plan(damaged, write(tmp_path / "b.jsonl", line(1)), partition_documents=100)
    assert faults(planned.rejections) == [(0, "unreadable_file")]
    assert [document.id for document in read_back(planned)] == ["1"]


def test_a_duplicate_names_the_first_place(tmp_path: Path) -> None:
    """Within a file and across files the first document wins, and the report says where it stands."""
    first = write(tmp_path / "a.jsonl", line(1, "처음"), line(1))
    second = write(tmp_path / "b.jsonl", line(2), line(1))
    planned = plan(first, second)
    assert [(document.id, document.text) for document in read_back(planned)] == [("1", "처음"), ("2", "글")]
    within, across = planned.rejections
    assert "line 1 already" in within.detail
    assert f"line 1 of {first} already" in across.detail
    assert (within.document_id, across.document_id) == ("1", "1")


def test_identifiers_that_look_the_same_are_duplicates(tmp_path: Path) -> None:
    """A number and its digits, composed and decomposed: one identifier, one point."""
    path = write(tmp_path / "a.jsonl", line(7), line("7"), line("가"), line("가"), line("가 "))
    assert faults(plan(path).rejections) == [(2, "duplicate_id"), (4, "duplicate_id"), (5, "duplicate_id")]


def test_a_rejected_document_does_not_hold_its_identifier(tmp_path: Path) -> None:
    """When the first document with an identifier is faulty, the next one with it is indexed."""
    path = write(tmp_path / "a.jsonl", line(1, ""), line(1, "글"))
    planned = plan(path)
    assert faults(planned.rejections) == [(1, "empty_text")]
    assert [document.text for document in read_back(planned)] == ["글"]


def test_a_span_holds_no_more_documents_than_a_partition_may(tmp_path: Path) -> None:
    """Partitions are cut by documents."""
    path = write(tmp_path / "a.jsonl", *map(line, range(10)))
    assert [span.documents for span in plan(path, partition_documents=4).spans] == [4, 4, 2]


def test_a_span_is_about_as_large_as_a_partition_may_be(tmp_path: Path) -> None:
    """Partitions are cut by bytes as well."""
    path = write(tmp_path / "a.jsonl", *(line(n, "x" * 100) for n in range(10)))
    spans = plan(path, partition_bytes=300).spans
    assert len(spans) > 1
    assert all(span.end - span.start < 300 + 150 for span in spans)


def test_no_span_holds_an_overlong_line(tmp_path: Path) -> None:
    """A worker reads a span whole, so a line of gigabytes must lie outside of every span."""
    path = write(tmp_path / "a.jsonl", line(1), line("x", "x" * 1_000_000), line(2), line("y", "y" * 1_000_000))
    planned = plan(path)
    assert sum(span.end - span.start for span in planned.spans) < 1000
    assert [document.id for document in read_back(planned)] == ["1", "2"]


def test_spans_without_a_document_are_left_out(tmp_path: Path) -> None:
    """No task is sent for nothing but faults."""
    path = write(tmp_path / "a.jsonl", *["{" * 50] * 100, line(1))
    planned = plan(path, partition_bytes=500)
    assert [span.documents for span in planned.spans] == [1]
    assert len(planned.rejections) == 100


def test_sources_are_pinned_as_they_were(tmp_path: Path) -> None:
    """Size and time of the file go into the plan, so that a change is noticed."""
    path = write(tmp_path / "a.jsonl", line(1))
    assert plan(path).spans[0].source == source_of(path)


def test_an_unclosed_quote_costs_one_row(tmp_path: Path) -> None:
    """The rows behind it are indexed."""
    path = write(tmp_path / "a.csv", "id,text", "1,가", '2,"나', "3,다", '4,"라"', "5,마")
    planned = plan(path)
    assert [document.id for document in read_back(planned)] == ["1", "3", "4", "5"]
    assert faults(planned.rejections) == [(3, "malformed_csv")]


def test_rows_with_line_breaks_count_their_lines(tmp_path: Path) -> None:
    """A fault behind a row of three lines has the line number that an editor shows."""
    path = write(tmp_path / "a.csv", "id,text", '1,"가', "나", '다"', "2", "3,라")
    planned = plan(path)
    assert faults(planned.rejections) == [(5, "wrong_column_count")]
    assert [document.text for document in read_back(planned)] == ["가\n나\n다", "라"]


def test_fields_that_every_chunk_would_carry_have_a_limit(tmp_path: Path) -> None:
    """A document whose fields are larger than many a text is left out, with what to do; the others are indexed."""
    large = json.dumps({"id": 1, "text": "글", "내용": "가" * 100_000})
    planned = plan(write(tmp_path / "a.jsonl", large, line(2)), max_line_bytes=1 << 20)
    assert faults(planned.rejections) == [(1, "fields_too_large")]
    assert "--text-field" in planned.rejections[0].detail
    assert [span.documents for span in planned.spans] == [1]


def test_too_many_faults_are_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is something else than its suffix says is one rejection, which tells what was found in it."""
    monkeypatch.setattr(planner, "_MAX_FAULTS_IN_FILE", 20)
    other = write(tmp_path / "a.jsonl", line(1), *["-- no JSON"] * 50)
    planned = plan(other, write(tmp_path / "b.jsonl", line(1)))
    assert [document.id for document in read_back(planned)] == ["1"]
    assert faults(planned.rejections) == [(0, "unknown_format")]
    assert "50 records" in planned.rejections[0].detail


def test_a_file_that_changes_while_it_is_read_is_left_out(tmp_path: Path) -> None:
    """Its lines may be those of two versions."""
    path = write(tmp_path / "a.jsonl", line(1))
    calls = 0

    def write_again() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:  # the first time the file has not been opened yet
            write(path, line(1), line(2))

    planned = plan(path, check_lease=write_again)
    assert (planned.spans, faults(planned.rejections)) == ([], [(0, "changed_while_read")])


def test_a_lost_lease_ends_the_planning(tmp_path: Path) -> None:
    """A planner that another one replaced stops reading."""

    def check_lease() -> None:
        raise LeaseLostError("lost")

    path = write(tmp_path / "a.txt", *["글"] * 10_001)
    with pytest.raises(LeaseLostError):
        plan(path, check_lease=check_lease)


# Payload indexes


def kinds_of(*fields: dict[str, object]) -> dict[str, str]:
    kinds = FieldKinds()
    for each in fields:
        kinds.add(Document("x", "글", "", each))
    return dict(kinds.types())


def test_each_kind_of_value_gets_its_index() -> None:
    """What can be filtered by is indexed as what it is."""
    fields: dict[str, object] = {"법": "민법", "year": 1, "rating": 0.5, "open": True, "tags": ["가", "나"]}
    assert kinds_of(fields) == {
        "법": "keyword",
        "year": "integer",
        "rating": "float",
        "open": "bool",
        "tags": "keyword",
    }


def test_integers_and_floats_make_floats() -> None:
    """8 and 8.5 in one field are numbers."""
    assert kinds_of({"a": 8}, {"a": 8.5}, {"a": 7}) == {"a": "float"}


def test_mixed_kinds_make_no_index() -> None:
    """A field that is sometimes this and sometimes that cannot be indexed."""
    assert kinds_of({"a": 8}, {"a": "여덟"}, {"a": 8}) == {}


def test_a_missing_value_says_nothing() -> None:
    """null does not spoil a field."""
    assert kinds_of({"a": None}, {"a": 8}, {}) == {"a": "integer"}


def test_long_texts_and_objects_make_no_index() -> None:
    """Content is not a category."""
    assert kinds_of({"a": "가" * 65, "b": {"c": 1}, "d": [], "e": [1, "가"]}) == {}


@pytest.mark.parametrize("name", ["", 'a"b', "a\\b"])
def test_names_that_qdrant_cannot_index_are_left_out(name: str) -> None:
    """No path leads to such a name: the field is stored without an index, and the job goes on."""
    assert kinds_of({name: 1, "a": 1}) == {"a": "integer"}


@pytest.mark.parametrize("name", ["published at", "@type", "a:b", "a/b", "a.b", "a[0]", "발행일"])
def test_other_names_are_indexed(name: str) -> None:
    """Names with spaces and signs are common in real data."""
    assert kinds_of({name: 1}) == {name: "integer"}


def test_only_so_many_fields_are_indexed() -> None:
    """A table of 500 columns does not make 500 indexes."""
    assert len(kinds_of({f"f{n}": n for n in range(500)})) == 16


# The property that everything rests on


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """One ledger for all that is tried."""
    opened = Ledger("sqlite://")
    yield opened
    opened.close()


json_lines = st.one_of(
    st.builds(line, st.integers(0, 30), st.text(max_size=30)),
    st.builds(line, st.text(max_size=4), st.sampled_from(["글", "두\n줄", "가" * MAX_LINE_BYTES])),
    st.sampled_from(["", "  ", "{", "[]", '{"text": "글"}', '{"id": 99, "text": ""}']),
).map(str.encode) | st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b""))
csv_rows = st.one_of(
    st.builds("{},{}".format, st.integers(0, 30), st.text('가",a ', max_size=8)),
    st.builds('{},"{}"'.format, st.integers(0, 30), st.text('가\n,a"', max_size=8)),
    st.sampled_from(["", ",", "1", "a,b,c", '"', "7," + "x" * MAX_LINE_BYTES]),
).map(str.encode)


def first_of_each_id(lines: list[bytes]) -> list[tuple[int, str]]:
    """Return (line, id) of the documents that a file of JSON lines should give, read the plain way."""
    found: dict[str, int] = {}
    for number, content in enumerate(lines, start=1):
        try:
            value = json.loads(content.decode())
        except ValueError:
            continue
        if len(content) < MAX_LINE_BYTES and isinstance(value, dict) and "id" in value:
            document_id, text = clean(str(value["id"])), clean(str(value["text"]))
            if document_id and text:
                found.setdefault(document_id, number)
    return sorted((number, document_id) for document_id, number in found.items())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(json_lines, max_size=12),
    line_end=st.sampled_from([b"\n", b"\r\n"]),
    documents=st.integers(1, 5),
    size=st.sampled_from([1, 60, 1 << 20]),
    suffix=st.sampled_from(["", ".zst", ".gz"]),
)
def test_a_plan_read_back_gives_each_document_once_in_order(
    lines: list[bytes], line_end: bytes, documents: int, size: int, suffix: str, tmp_path: Path, ledger: Ledger
) -> None:
    """Whatever the partition size and the faults, the spans hold exactly the documents of the file."""
    content = line_end.join(lines)
    compress = {"": bytes, ".zst": zstandard.compress, ".gz": gzip.compress}[suffix]
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(compress(content))
    planned = plan(path, known_ledger=ledger, partition_documents=documents, partition_bytes=size)
    expected = [document_id for _, document_id in first_of_each_id(content.split(b"\n"))]
    assert [document.id for document in read_back(planned)] == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(csv_rows, max_size=12), documents=st.integers(1, 5), size=st.sampled_from([1, 60, 1 << 20]))
def test_the_partition_size_does_not_change_what_a_table_holds(
    rows: list[bytes], documents: int, size: int, tmp_path: Path, ledger: Ledger
) -> None:
    """Quotes, line breaks in them and faults included: cut small or not at all, the documents are the same."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"\n".join([b"id,text", *rows]))
    whole = plan(path, known_ledger=ledger)
    cut = plan(path, known_ledger=ledger, partition_documents=documents, partition_bytes=size)
    assert read_back(cut) == read_back(whole)
    assert cut.rejections == whole.rejections


def test_other_field_names_reach_the_reader(tmp_path: Path) -> None:
    """The names given with the job are used for planning."""
    path = write(tmp_path / "a.jsonl", '{"번호": 1, "내용": "글"}')
    fields = SourceFields("번호", "내용", "제목")
    assert [document.id for document in read_back(plan(path, fields=fields), fields)] == ["1"]


def test_a_full_disk_of_temporary_files_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job waits until there is room, instead of failing."""
    open_scratch = planner.Scratch

    def open_small_scratch() -> planner.Scratch:
        scratch = open_scratch()
        scratch._database.execute("PRAGMA max_page_count=1")
        return scratch

    monkeypatch.setattr(planner, "Scratch", open_small_scratch)
    with pytest.raises(UnavailableError, match=r"full.*TMPDIR"):
        plan(write(tmp_path / "a.jsonl", *(line(n) for n in range(2000))))
