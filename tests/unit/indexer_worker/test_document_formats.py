"""From records to documents."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from indexer_worker.readers.documents import RecordError, RecordFormat, record_format
from indexer_worker.readers.records import Record
from kosearch.documents import Document
from kosearch.errors import InvalidRequestError
from kosearch.jobs import SourceFields

FIELDS = SourceFields()


def record(content: bytes | str | None, line: int = 2, start: int = 100) -> Record:
    """Return a record somewhere in a file."""
    encoded = content.encode() if isinstance(content, str) else content
    return Record(start, start + len(encoded or b""), line, line, encoded)


def read_json(value: Any, fields: SourceFields = FIELDS) -> Document:
    """Read an object from a JSONL file."""
    content = value if isinstance(value, str | bytes) else json.dumps(value)
    document = record_format(Path("a.jsonl"), fields).document(record(content))
    assert document is not None
    return document


def table(name: str = "a.csv", header: str = "id,text,title,year") -> RecordFormat:
    """Return a format that has taken its header."""
    made = record_format(Path(name), FIELDS)
    assert made.takes_header(record(header, line=1, start=0))
    return made


def reason_of(made: RecordFormat, content: bytes | str | None) -> str:
    """Return why a record is rejected."""
    with pytest.raises(RecordError) as caught:
        made.document(record(content))
    return caught.value.reason


# JSONL


def test_an_object_becomes_a_document() -> None:
    """Identifier, text and title have their places, everything else is kept as fields."""
    value = {"id": "민법-1", "text": "본문", "title": "제목", "year": 2023, "open": True, "tags": ["가"], "by": None}
    assert read_json(value) == Document(
        "민법-1", "본문", "제목", {"year": 2023, "open": True, "tags": ["가"], "by": None}
    )


def test_the_fields_can_have_other_names() -> None:
    """Then the usual names mean nothing."""
    value = {"번호": 7, "내용": "본문", "제목": "이름", "text": "딴것"}
    assert read_json(value, SourceFields("번호", "내용", "제목")) == Document("7", "본문", "이름", {"text": "딴것"})


@pytest.mark.parametrize(("given_id", "expected"), [(7, "7"), (0, "0"), (-1, "-1"), ("007", "007"), (" a ", "a")])
def test_an_identifier_is_text_or_an_integer(given_id: object, expected: str) -> None:
    """A number becomes its digits."""
    assert read_json({"id": given_id, "text": "글"}).id == expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "malformed_json"),
        ("nonsense", "malformed_json"),
        ('{"id": 1, "text": "글"} trailing', "malformed_json"),
        ('{"id": 1, "text": "\\ud800"}', "malformed_json"),
        ('{"id": 1, "text": "글", "n": NaN}', "malformed_json"),
        ("[1, 2]", "malformed_json"),
        ('"글"', "malformed_json"),
        ("null", "malformed_json"),
        ("[" * 2000 + "]" * 2000, "malformed_json"),
        ('{"text": "글"}', "missing_field"),
        ('{"id": null, "text": "글"}', "missing_field"),
        ('{"id": true, "text": "글"}', "missing_field"),
        ('{"id": 1.5, "text": "글"}', "missing_field"),
        ('{"id": {}, "text": "글"}', "missing_field"),
        ('{"id": "", "text": "글"}', "missing_field"),
        ('{"id": "\\u200b ", "text": "글"}', "missing_field"),
        ('{"id": 1}', "missing_field"),
        ('{"id": 1, "text": null}', "missing_field"),
        ('{"id": 1, "text": ["글"]}', "missing_field"),
        ('{"id": 1, "text": ""}', "empty_text"),
        ('{"id": 1, "text": " \\n\\u200b"}', "empty_text"),
        (json.dumps({"id": "가" * 171, "text": "글"}), "bad_id"),
        (b'{"id": 1, "text": "\xb1\xdb"}', "invalid_utf8"),
        (b"\xff", "invalid_utf8"),
        (None, "line_too_long"),
    ],
)
def test_a_faulty_line_is_rejected_with_its_reason(content: bytes | str | None, reason: str) -> None:
    """Each kind of fault has a stable word."""
    assert reason_of(record_format(Path("a.jsonl"), FIELDS), content) == reason


def test_a_rejection_names_the_document_when_it_can() -> None:
    """An identifier that was read is in the report."""
    with pytest.raises(RecordError) as caught:
        read_json({"id": "민법-1", "text": ""})
    assert caught.value.document_id == "민법-1"


def test_a_blank_line_is_no_document_and_no_fault() -> None:
    """Blank lines between the documents are passed over."""
    made = record_format(Path("a.jsonl"), FIELDS)
    assert [made.document(record(blank)) for blank in (b"", b"  \t", b"\r")] == [None] * 3


def test_decomposed_text_is_composed_everywhere() -> None:
    """Identifier, text, title, keys and values in NFD come out in NFC, so that what is typed finds them."""
    typed = {"번호": "가-1", "내용": "한국어", "제목": "각하", "법": "민법", "목록": ["갑"], "안": {"을": "병"}}
    decomposed = unicodedata.normalize("NFD", json.dumps(typed, ensure_ascii=False))
    fields = {"법": "민법", "목록": ["갑"], "안": {"을": "병"}}
    assert read_json(decomposed, SourceFields("번호", "내용", "제목")) == Document("가-1", "한국어", "각하", fields)


def test_a_title_that_is_no_text_is_left_out() -> None:
    """A number as a title is no reason to reject the document."""
    assert read_json({"id": 1, "text": "글", "title": 3}).title == ""


def test_an_integer_beyond_64_bits_becomes_a_float() -> None:
    """What the wire cannot carry as an integer does not stop the job."""
    fields = read_json({"id": 1, "text": "글", "a": 2**63 - 1, "b": 2**63, "c": -(2**63), "d": 2**70}).fields
    assert fields == {"a": 2**63 - 1, "b": float(2**63), "c": -(2**63), "d": float(2**70)}
    assert isinstance(fields["b"], float)


@pytest.mark.parametrize("depth", [21, 40, 400, 1000])
def test_a_value_nested_too_deep_for_the_wire_is_rejected(depth: int) -> None:
    """One odd document does not stop the job; 20 levels are kept."""
    nested = '{"id": 1, "text": "글", "a": ' + "[" * depth + "]" * depth + "}"
    assert reason_of(record_format(Path("a.jsonl"), FIELDS), nested) == "nested_too_deep"


def test_moderate_nesting_is_kept() -> None:
    """What real documents have is stored as it is."""
    value: object = "끝"
    for _ in range(18):
        value = {"안": value}
    assert read_json({"id": 1, "text": "글", "a": value}).fields == {"a": value}


# CSV and TSV


def test_a_row_becomes_a_document() -> None:
    """The header names the columns; those without a role become fields."""
    assert table().document(record("1,본문,제목,2023")) == Document("1", "본문", "제목", {"year": "2023"})


def test_columns_come_in_any_order_and_the_title_is_optional() -> None:
    """Only identifier and text are needed."""
    assert table(header="text,id").document(record("본문,1")) == Document("1", "본문")


def test_a_byte_order_mark_is_not_part_of_the_first_column() -> None:
    """What Excel writes is read."""
    assert table(header="\ufeffid,text").document(record("1,글")) == Document("1", "글")


def test_a_byte_order_mark_before_a_quoted_header_is_not_either() -> None:
    """Nor when Excel quotes the header."""
    assert table(header='\ufeff"id","text"').document(record('"1","글"')) == Document("1", "글")


def test_quoted_fields_hold_commas_quotes_and_line_breaks() -> None:
    """CSV as RFC 4180 has it."""
    assert table(header="id,text").document(record('1,"가, ""나""\n다"')) == Document("1", '가, "나"\n다')


@pytest.mark.parametrize("text", ["가\u2028나", "가\u2029나", "가\u3000나"])
def test_unicode_line_separators_stay_in_the_text(text: str) -> None:
    """They are characters of the field; nothing behind them is lost."""
    assert table(header="id,text").document(record(f"1,{text}")) == Document("1", text)


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85"])
def test_control_characters_do_not_cut_a_row(separator: str) -> None:
    """Python's own line splitting knows more line ends than CSV does."""
    document = table(header="id,text,year").document(record(f"1,가{separator}나,2023"))
    assert document == Document("1", "가 나", "", {"year": "2023"})


def test_a_long_field_is_read() -> None:
    """A text of 200,000 characters in CSV is a document like any other."""
    document = table(header="id,text").document(record("1," + "가" * 200_000))
    assert document is not None
    assert len(document.text) == 200_000


def test_a_quote_inside_a_field_is_a_character() -> None:
    """5" as a measure is no quoting."""
    assert table(header="id,text").document(record('1,5" 화면')) == Document("1", '5" 화면')


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("1,글", "wrong_column_count"),
        ("1,글,제목,2023,더", "wrong_column_count"),
        (",글,제목,2023", "missing_field"),
        ("1,,제목,2023", "empty_text"),
        ('1,"글,제목,2023', "malformed_csv"),
        ('1,"글"x,제목,2023', "malformed_csv"),
        ("1,글\r제목,x,2023", "malformed_csv"),
        (b"1,\xb1\xdb,x,2023", "invalid_utf8"),
        (None, "line_too_long"),
    ],
)
def test_a_faulty_row_is_rejected_with_its_reason(content: bytes | str | None, reason: str) -> None:
    """Each kind of fault has a stable word."""
    assert reason_of(table(), content) == reason


@pytest.mark.parametrize(("name", "blank"), [("a.csv", ""), ("a.csv", ",,,"), ("a.tsv", ""), ("a.tsv", "\t\t\t")])
def test_a_blank_row_is_no_document_and_no_fault(name: str, blank: str) -> None:
    """Spreadsheets leave such rows at the end."""
    header = "id,text,title,year" if name == "a.csv" else "id\ttext\ttitle\tyear"
    assert table(name, header).document(record(blank)) is None


def test_tsv_has_no_quoting() -> None:
    """A quote in KorNLI's TSV is a character of the text."""
    made = table("a.tsv", "id\ttext")
    assert made.document(record('1\t"그는 말했다')) == Document("1", '"그는 말했다')


@pytest.mark.parametrize(("header", "option"), [("text,title", "--id-field"), ("id,title", "--text-field")])
def test_a_missing_column_names_the_option(header: str, option: str) -> None:
    """The message lists the columns there are and the option that names another one."""
    with pytest.raises(RecordError, match=option) as caught:
        record_format(Path("a.csv"), FIELDS).takes_header(record(header, line=1, start=0))
    assert "title" in str(caught.value)


def test_a_decomposed_header_is_composed() -> None:
    """Column names from macOS match the option as typed."""
    made = record_format(Path("a.csv"), SourceFields("번호", "내용", "제목"))
    assert made.takes_header(record(unicodedata.normalize("NFD", "번호,내용"), line=1, start=0))
    assert made.document(record("1,글")) == Document("1", "글")


# Text


def test_a_line_of_text_is_a_document() -> None:
    """Its identifier is the file's name and the line."""
    made = record_format(Path("/data/글.txt"), FIELDS)
    assert made.document(record("  한 남자가 음식을 먹는다. ", line=7)) == Document(
        "글.txt:7", "한 남자가 음식을 먹는다."
    )


@pytest.mark.parametrize("blank", ["", "   ", "\u200b"])
def test_a_blank_line_of_text_is_no_document(blank: str) -> None:
    """Blank lines are passed over."""
    assert record_format(Path("a.txt"), FIELDS).document(record(blank)) is None


def test_a_byte_order_mark_is_not_part_of_the_text() -> None:
    """Nor a BOM anywhere else."""
    made = record_format(Path("a.txt"), FIELDS)
    assert made.document(record("\ufeff글", line=1, start=0)) == Document("a.txt:1", "글")


@pytest.mark.parametrize("name", ["a.xls", "a", "a.pdf.gz", "a.jsonl.bz2", "a.gz", "a.parquet.gz"])
def test_an_unknown_format_lists_the_known_ones(name: str) -> None:
    """The message says what can be read."""
    with pytest.raises(InvalidRequestError, match=r"\.jsonl, \.json, \.csv, \.tsv and \.txt"):
        record_format(Path(name), FIELDS)
