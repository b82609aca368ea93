"""What a plan makes of folders."""

from pathlib import Path

from tests.unit.indexer_worker.sources import plan, read_back


def test_documents_of_a_folder_are_called_by_their_place_in_it(tmp_path: Path) -> None:
    """Files of one name in two folders are two documents."""
    for name in ("나.txt", "가/글.txt", "가/더/글.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("글\n", encoding="utf-8")
    planned = plan(tmp_path)
    assert [span.source.path.name for span in planned.spans] == ["나.txt", "글.txt", "글.txt"]
    assert planned.rejections == []
    names = [document.id for document in read_back(planned, folder=tmp_path)]
    assert names == ["나.txt:1", "가/글.txt:1", "가/더/글.txt:1"]


def test_files_of_other_programs_are_counted_and_an_empty_folder_said(tmp_path: Path) -> None:
    """Neither is passed over in silence."""
    (tmp_path / "표.xls").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    assert [rejection.reason for rejection in plan(tmp_path).rejections] == ["unknown_format"]
    assert [rejection.reason for rejection in plan(tmp_path / "empty").rejections] == ["empty_folder"]
