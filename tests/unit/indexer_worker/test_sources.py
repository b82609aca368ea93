"""The files of a job, and what documents are called by them."""

import unicodedata
from pathlib import Path

import pytest

from indexer_worker.sources import files_of, name_of
from tests.unit.indexer_worker.sources import plan, read_back


def raise_it(error: OSError) -> None:
    raise error


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A folder with folders in it, one of them a circle."""
    for name in ("나.txt", "가/글.txt", "가/더/글.txt", ".git/글.txt", "가/.숨은.txt"):
        path = tmp_path / "archive" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}의 글\n", encoding="utf-8")
    (tmp_path / "archive/가/circle").symlink_to(tmp_path / "archive", target_is_directory=True)
    return tmp_path / "archive"


def test_a_folder_is_all_files_below_it_by_name(archive: Path) -> None:
    found = list(files_of([archive], raise_it))
    assert [str(path.relative_to(archive)) for path in found] == ["나.txt", "가/글.txt", "가/더/글.txt"]


def test_a_file_that_is_named_twice_is_read_once(archive: Path) -> None:
    assert len(list(files_of([archive / "나.txt", archive, archive / "나.txt"], raise_it))) == 3


def test_names_stay_when_the_folder_moves_and_differ_within_it(archive: Path) -> None:
    files = files_of([archive], raise_it)
    assert [name_of(file, [archive]) for file in files] == ["나.txt", "가/글.txt", "가/더/글.txt"]
    assert name_of(archive / "가/글.txt", [archive / "가/글.txt", archive]) == "글.txt"
    assert name_of(archive / "가/글.txt", [Path("/elsewhere"), archive / "가"]) == "글.txt"


def test_names_of_macos_are_those_typed_elsewhere(tmp_path: Path) -> None:
    assert name_of(tmp_path / unicodedata.normalize("NFD", "한글.txt"), [tmp_path]) == "한글.txt"


def test_folders_that_cannot_be_read_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests as root may read everything, so that the system's answer is put in its mouth."""
    errors: list[OSError] = []

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", refuse)
    assert list(files_of([tmp_path], errors.append)) == []
    assert [error.filename for error in errors] == [str(tmp_path)]


def test_documents_of_a_folder_are_called_by_their_place_in_it(archive: Path) -> None:
    planned = plan(archive)
    assert [span.source.path.name for span in planned.spans] == ["나.txt", "글.txt", "글.txt"]
    assert planned.rejections == []
    assert [document.id for document in read_back(planned, folder=archive)] == [
        "나.txt:1",
        "가/글.txt:1",
        "가/더/글.txt:1",
    ]


def test_files_of_other_programs_are_counted_and_an_empty_folder_said(tmp_path: Path) -> None:
    (tmp_path / "표.xls").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    assert [rejection.reason for rejection in plan(tmp_path).rejections] == ["unknown_format"]
    assert [rejection.reason for rejection in plan(tmp_path / "empty").rejections] == ["empty_folder"]
