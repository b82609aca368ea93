"""Files of foreign programs, through the process that reads them: text and tables, or why there is none."""

import random
import zipfile
from contextlib import suppress
from pathlib import Path

import orjson
import pytest

from indexer_worker.conversion.failure import ConversionError, Reason
from indexer_worker.readers.byte_streams import open_bytes

DOCUMENTS = Path(__file__).resolve().parents[4] / "shared/data/documents"
with_documents = pytest.mark.skipif(not DOCUMENTS.exists(), reason="../shared/data/documents is absent")
HP = 'xmlns:hp="http://www.hancom.co.kr/hwpml/2011/paragraph" xmlns:hs="http://www.hancom.co.kr/hwpml/2011/section"'


def converted(path: Path) -> dict[str, str]:
    with open_bytes(path) as stream:
        content = stream.read()
    assert content.count(b"\n") == 1
    line: dict[str, str] = orjson.loads(content)
    return line


def refused(path: Path) -> Reason:
    with pytest.raises(ConversionError) as error:
        open_bytes(path)
    assert path.name in str(error.value)
    return error.value.reason


def write_hwpx(path: Path, *paragraphs: str, manifest: str = "<manifest/>") -> Path:
    """The least that is an HWPX file."""
    body = "".join(f"<hp:p><hp:run><hp:t>{text}</hp:t></hp:run></hp:p>" for text in paragraphs)
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    opf = '<opf:package xmlns:opf="http://www.idpf.org/2007/opf/"><opf:manifest><opf:item id="section0" href="Contents/'
    opf += 'section0.xml" media-type="application/xml"/></opf:manifest><opf:spine><opf:itemref idref="section0"/>'
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/hwp+zip")
        archive.writestr("META-INF/manifest.xml", head + manifest)
        archive.writestr("Contents/content.hpf", head + opf + "</opf:spine></opf:package>")
        archive.writestr("Contents/section0.xml", f"{head}<hs:sec {HP}>{body}</hs:sec>")
    return path


def write_docx(path: Path) -> Path:
    """A heading, a paragraph and a table of two rows."""
    word = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'

    def paragraph(text: str) -> str:
        return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"

    rows = (("이름", "소속"), ("홍길동", "총무과"))
    cells = ("".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in row) for row in rows)
    table = "<w:tbl>" + "".join(f"<w:tr>{row}</w:tr>" for row in cells) + "</w:tbl>"
    body = paragraph("위임전결 규정") + paragraph("제1조 목적") + table
    schemas = "http://schemas.openxmlformats.org"
    document = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    types = f'<Types xmlns="{schemas}/package/2006/content-types">'
    types += f'<Override PartName="/word/document.xml" ContentType="{document}"/></Types>'
    kind = f"{schemas}/officeDocument/2006/relationships/officeDocument"
    relations = f'<Relationships xmlns="{schemas}/package/2006/relationships">'
    relations += f'<Relationship Id="r1" Type="{kind}" Target="word/document.xml"/></Relationships>'
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", types)
        archive.writestr("_rels/.rels", relations)
        archive.writestr("word/document.xml", f"<w:document {word}><w:body>{body}</w:body></w:document>")
    return path


def write_pdf(path: Path, text: str, trailer: str = "") -> Path:
    """One page with a line of text."""
    content = f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Contents 4 0 R"
        " /Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
        f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
    ]
    body = "%PDF-1.4\n" + "".join(f"{n} 0 obj\n{each}\nendobj\n" for n, each in enumerate(objects, start=1))
    path.write_text(f"{body}trailer\n<< /Root 1 0 R /Size 5 {trailer}>>\n%%EOF\n", encoding="ascii")
    return path


def test_word_documents_keep_their_tables(tmp_path: Path) -> None:
    found = converted(write_docx(tmp_path / "규정.docx"))
    assert found["text"].splitlines() == ["위임전결 규정", "제1조 목적", "이름 소속", "이름: 홍길동, 소속: 총무과"]
    (tmp_path / "old.docx").write_bytes(b"\xd0\xcf\x11\xe0" + b"\0" * 600)
    (tmp_path / "none.docx").write_bytes(b"PK\x03\x04 and nothing more")
    assert refused(tmp_path / "old.docx") is Reason.ENCRYPTED
    assert refused(tmp_path / "none.docx") is Reason.DAMAGED


def test_a_pdf_has_the_text_of_its_pages(tmp_path: Path) -> None:
    assert converted(write_pdf(tmp_path / "page.pdf", "Article 1 of the act"))["text"] == "Article 1 of the act"
    assert refused(write_pdf(tmp_path / "scan.pdf", "")) is Reason.NO_TEXT
    (tmp_path / "none.pdf").write_bytes(b"%PDF-1.4\nnothing")
    assert refused(tmp_path / "none.pdf") is Reason.DAMAGED


@pytest.mark.parametrize("encoding", ["utf-8", "cp949"])
def test_a_page_has_its_title_and_what_one_sees_of_it(tmp_path: Path, encoding: str) -> None:
    page = tmp_path / "page.html"
    html = "<html><head><title> 알림 마당 </title><style>p {}</style></head><body><script>x()</script>"
    html += "<h1>공지</h1><p>첫 줄<br>둘째 <b>줄</b>은</p><table><tr><th>이름</th><th>국어</th></tr>"
    html += "<tr><td>개똥이</td><td>89</td></tr></table></body></html>"
    page.write_bytes(html.encode(encoding))
    found = converted(page)
    assert found["title"] == "알림 마당"
    assert found["text"].splitlines() == ["# 공지", "첫 줄", "둘째 줄은", "이름 국어", "이름: 개똥이, 국어: 89"]


def test_markdown_is_read_without_its_marks(tmp_path: Path) -> None:
    notes = tmp_path / "notes.md"
    notes.write_bytes("# 회의록\n\n- **예산** 심의\n".encode("utf-16"))
    assert converted(notes) == {"title": "notes", "text": "# 회의록\n예산 심의"}


def test_what_is_nested_too_deep_is_told(tmp_path: Path) -> None:
    deep = tmp_path / "deep.html"
    deep.write_text("<div>" * 200_000 + "깊은 글", encoding="utf-8")
    assert refused(deep) is Reason.TOO_LARGE


def test_a_file_is_one_document(tmp_path: Path) -> None:
    path = write_hwpx(tmp_path / "공고.hwpx", "입법예고", "구세 조례를 일부 개정한다.")
    assert converted(path) == {"title": "공고", "text": "입법예고\n구세 조례를 일부 개정한다."}


def test_a_name_does_not_make_the_format(tmp_path: Path) -> None:
    assert converted(write_hwpx(tmp_path / "이름만.hwp", "내용"))["text"] == "내용"


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    garbage, cut = tmp_path / "garbage.hwp", tmp_path / "cut.hwpx"
    garbage.write_bytes(random.Random(0).randbytes(5000))
    whole = write_hwpx(tmp_path / "whole.hwpx", "내용").read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    assert [refused(garbage), refused(cut)] == [Reason.DAMAGED] * 2
    assert refused(write_hwpx(tmp_path / "empty.hwpx")) is Reason.NO_TEXT
    locked = "<manifest><file-entry><encryption-data/></file-entry></manifest>"
    assert refused(write_hwpx(tmp_path / "locked.hwpx", "내용", manifest=locked)) is Reason.ENCRYPTED
    with pytest.raises(FileNotFoundError):
        open_bytes(tmp_path / "absent.hwp")


def test_an_archive_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path) -> None:
    path = write_hwpx(tmp_path / "bomb.hwpx", "내용")
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("Contents/section1.xml", "w") as bomb,
    ):
        for _ in range(600):
            bomb.write(b" " * (1 << 20))
    assert refused(path) is Reason.TOO_LARGE


@with_documents
def test_tables_of_real_files_become_rows() -> None:
    grades = converted(DOCUMENTS / "hwpx/tool_textextractor_Table.hwpx")["text"].splitlines()
    assert grades[0] == "C반 기말고사"
    assert "이름: 칠득이, 국어: 77, 영어: 77, 수학: 77" in grades
    cells = converted(DOCUMENTS / "hwp/merging-cell.hwp")["text"].splitlines()
    assert cells[0].split() == [f"0,{column}" for column in range(7)]
    notice = converted(DOCUMENTS / "hwpx/mpm_recruitment_notice.hwpx")["text"]
    assert "인사혁신처 국민참여정책단 모집" in notice
    request = converted(DOCUMENTS / "hwpx/error_20230728_test.hwpx")["text"]
    assert "공연팀 5팀을 제안하되 섭외 예상금액은" in request
    assert "구세 조례 일부개정조례안" in converted(DOCUMENTS / "hwpx/error_20240626_no_manifest.hwpx")["text"]


@with_documents
def test_every_real_file_has_text_or_a_reason() -> None:
    reasons = {}
    for path in sorted(DOCUMENTS.rglob("*.hwp*")):
        try:
            assert converted(path)["text"].strip()
        except ConversionError as error:
            reasons[path.name] = error.reason
    without_text = dict.fromkeys(("making_caption.hwp", "ole.hwp", "removing-row.hwp"), Reason.NO_TEXT)
    assert reasons == {"distribution.hwp": Reason.DISTRIBUTION_ONLY, **without_text}


@with_documents
@pytest.mark.parametrize(("flag", "reason"), [(1 << 1, Reason.ENCRYPTED), (1 << 4, Reason.DRM_PROTECTED)])
def test_a_locked_file_is_told_by_its_header(tmp_path: Path, flag: int, reason: Reason) -> None:
    content = bytearray((DOCUMENTS / "hwp/etc.hwp").read_bytes())
    content[content.index(b"HWP Document File") + 36] |= flag
    path = tmp_path / "locked.hwp"
    path.write_bytes(content)
    assert refused(path) is reason


@with_documents
@pytest.mark.parametrize("name", ["hwp/etc.hwp", "hwp/extracting_ParaHead.hwp", "hwpx/tool_textextractor_Table.hwpx"])
def test_mutated_files_cost_nobody_but_themselves(tmp_path: Path, name: str) -> None:
    whole, chance = (DOCUMENTS / name).read_bytes(), random.Random(name)
    for number in range(12):
        content = bytearray(whole)
        for _ in range(chance.choice((1, 10, 200))):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path = tmp_path / f"{number}{Path(name).suffix}"
        path.write_bytes(content[: chance.choice((len(content), chance.randrange(1, len(content))))])
        with suppress(ConversionError):  # any other error, and a hang, would be the worker's
            assert converted(path)["text"].strip()
