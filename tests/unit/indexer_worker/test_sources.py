"""The files of a job, what documents are called by them, and what is left out on the way."""

import os
import shutil
import socket
import subprocess
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from indexer_worker.sources import Listing, fault_of, fault_of_change, list_sources, name_of, source_of

NOBODY = 65534


def listed(*paths: Path, allowed: tuple[Path, ...] = ()) -> tuple[list[str], list[tuple[str, str]], Listing]:
    """Return names of files, (name, reason) of faults, and the listing."""
    listing = list_sources(paths, allowed)
    names = [file.name for file in listing]
    return names, [(Path(fault.path).name, fault.reason) for fault in listing.faults], listing


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A folder with folders in it, one of them a circle."""
    for name in ("나.txt", "가/글.txt", "가/더/글.txt", ".git/글.txt", "가/.숨은.txt"):
        path = tmp_path / "archive" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}의 글\n", encoding="utf-8")
    (tmp_path / "archive/가/circle").symlink_to(tmp_path / "archive", target_is_directory=True)
    return tmp_path / "archive"


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the user that the test goes on as, who has no special rights."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    user = os.geteuid()
    if user == 0:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    yield folder
    os.seteuid(user)
    shutil.rmtree(folder)


# Folders


def test_a_folder_is_all_files_below_it_by_name(archive: Path) -> None:
    """Files first, then folders; hidden ones stay out, and a link into the folder itself in silence."""
    names, faults, listing = listed(archive)
    assert (names, faults, listing.incomplete_roots) == (["나.txt", "가/글.txt", "가/더/글.txt"], [], set())


def test_a_file_that_is_named_twice_comes_once(archive: Path) -> None:
    """It belongs to the path that lists it first."""
    listing = list_sources([archive / "나.txt", archive, archive / "나.txt"])
    assert [file.root for file in listing] == [archive / "나.txt", archive, archive]


@pytest.mark.parametrize(
    "name", ["~$보고서.docx", "a.txt.swp", "a.TMP", "a.pdf.part", "a.crdownload", "a~", "Thumbs.db"]
)
def test_temporary_files_stay_out_unless_they_are_named(name: str, tmp_path: Path) -> None:
    """What a program leaves beside a file while it writes it is no document."""
    (tmp_path / name).write_text("x")
    (tmp_path / "a.txt").write_text("x")
    assert listed(tmp_path)[0] == ["a.txt"]
    assert listed(tmp_path / name)[0] == [name]


def test_a_deep_folder_is_listed(tmp_path: Path) -> None:
    """Folders in folders in folders are no recursion."""
    folder = tmp_path
    for _ in range(1200):
        folder /= "a"
        folder.mkdir()
    (folder / "글.txt").write_text("x")
    assert listed(tmp_path)[0] == ["a/" * 1200 + "글.txt"]
    subprocess.run(["rm", "-r", tmp_path / "a"], check=True)  # shutil does recurse


@pytest.mark.parametrize("name", ["empty", "gone", "gone.txt", "data*"])
def test_a_path_without_files_is_said_and_incomplete(name: str, tmp_path: Path) -> None:
    """Nothing there does not mean that all its documents were deleted."""
    (tmp_path / "empty").mkdir()
    _, faults, listing = listed(tmp_path / name)
    expected = {"empty": "empty_folder", "data*": "no_match"}.get(name, "no_such_path")
    assert (faults, listing.incomplete_roots) == ([(name, expected)], {tmp_path / name})


def test_a_folder_that_vanishes_on_the_way_makes_its_root_incomplete(archive: Path) -> None:
    """What it held is not taken for deleted; the rest is listed."""
    listing = list_sources([archive])
    names = []
    for file in listing:
        names.append(file.name)
        if file.name == "가/글.txt":
            shutil.rmtree(archive / "가/더")
    assert names == ["나.txt", "가/글.txt"]
    assert [(Path(fault.path).name, fault.reason) for fault in listing.faults] == [("더", "vanished")]
    assert listing.incomplete_roots == {archive}


# Patterns


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.txt", ["나.txt"]),
        ("**/*.txt", ["나.txt", "가/글.txt", "가/더/글.txt"]),
        ("가/**/글.txt", ["글.txt", "더/글.txt"]),
        ("?/글.txt", ["가/글.txt"]),
        ("[가-나]/글.txt", ["가/글.txt"]),
        ("*/더", ["가/더/글.txt"]),
        ("**", ["나.txt", "가/글.txt", "가/더/글.txt"]),
        ("**/**/더/*", ["가/더/글.txt"]),
        ("[!나]*", ["가/글.txt", "가/더/글.txt"]),
    ],
)
def test_a_pattern_is_what_fits_below_its_fixed_part(pattern: str, names: list[str], archive: Path) -> None:
    """Names are paths below what stands before the first wild part; a folder that fits is all below it."""
    assert listed(archive / pattern)[0] == names
    assert [name_of(file.path, [archive / pattern]) for file in list_sources([archive / pattern])] == names


def test_a_pattern_sees_what_was_added_and_what_vanished(archive: Path) -> None:
    """It is the source, not the files that it once stood for."""
    (archive / "새.txt").write_text("x")
    (archive / "나.txt").unlink()
    assert listed(archive / "*.txt")[0] == ["새.txt"]


@pytest.mark.parametrize("name", ["법[1].txt", "a*.txt", "정말?.txt"])
def test_a_file_whose_name_is_like_a_pattern_is_itself(name: str, tmp_path: Path) -> None:
    """Only what does not exist is a pattern; so it is with folders."""
    (tmp_path / name).write_text("x")
    (tmp_path / "법1.txt").write_text("x")
    assert listed(tmp_path / name)[0] == [name]
    (tmp_path / f"{name}의 폴더").mkdir()
    (tmp_path / f"{name}의 폴더" / "글.txt").write_text("x")
    assert listed(tmp_path / f"{name}의 폴더" / "*.txt")[0] == ["글.txt"]


def test_a_pattern_typed_in_nfc_finds_names_of_macos(tmp_path: Path) -> None:
    """macOS writes 한 as three code points."""
    (tmp_path / unicodedata.normalize("NFD", "한글.txt")).write_text("x")
    assert listed(tmp_path / "한*.txt")[0] == ["한글.txt"]


# Names


def test_names_stay_when_the_folder_moves_and_differ_within_it(archive: Path) -> None:
    """A file that is named has its own name."""
    assert name_of(archive / "가/글.txt", [archive / "가/글.txt", archive]) == "글.txt"
    assert name_of(archive / "가/글.txt", [Path("/elsewhere"), archive / "가"]) == "글.txt"


def test_names_of_macos_are_those_typed_elsewhere(tmp_path: Path) -> None:
    """In NFC."""
    assert name_of(tmp_path / unicodedata.normalize("NFD", "한글.txt"), [tmp_path]) == "한글.txt"


# What is left out


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _broken(path: Path) -> None:
    path.symlink_to("nowhere")


def _to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_fifo, "not_a_file"),
        (_socket, "not_a_file"),
        (_to_device, "not_a_file"),
        (_loop, "link_loop"),
        (_broken, "broken_link"),
    ],
)
def test_what_cannot_be_read_as_a_file_is_told_of(
    make: Callable[[Path], None], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone or among others, and without opening it: a pipe would never end."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    make(tmp_path / "b.txt")
    names, faults, listing = listed(tmp_path)
    assert (names, faults, listing.incomplete_roots) == (["a.txt"], [("b.txt", reason)], set())
    names, faults, listing = listed(tmp_path / "b.txt")
    assert (names, faults, listing.incomplete_roots) == ([], [("b.txt", reason)], {tmp_path / "b.txt"})


def test_a_linked_folder_elsewhere_is_told_of(archive: Path, tmp_path: Path) -> None:
    """It is not followed, and nobody looks for its documents in vain."""
    (tmp_path / "elsewhere").mkdir()
    (archive / "link").symlink_to(tmp_path / "elsewhere")
    (archive / "up").symlink_to("..")
    _, faults, listing = listed(archive)
    assert faults == [("link", "linked_folder"), ("up", "linked_folder")]
    assert listing.incomplete_roots == set()


def test_a_named_link_to_a_folder_is_that_folder(archive: Path, tmp_path: Path) -> None:
    """Who names it means what it leads to."""
    (tmp_path / "link").symlink_to(archive)
    assert listed(tmp_path / "link")[:2] == (["나.txt", "가/글.txt", "가/더/글.txt"], [])


def test_a_name_that_is_no_utf8_is_told_of(tmp_path: Path) -> None:
    """It cannot be stored; the fault shows its bytes."""
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xc7\xd1.txt")).write_text("x")
    (fault,) = listed(tmp_path)[2].faults
    assert (Path(fault.path).name, fault.reason) == ("\\xc7\\xd1.txt", "bad_file_name")


def test_a_path_that_is_too_long_is_told_of(tmp_path: Path) -> None:
    """A name of 300 bytes is on no file system."""
    _, ((_, reason),), listing = listed(tmp_path / ("가" * 100))
    assert (reason, listing.incomplete_roots) == ("path_too_long", {tmp_path / ("가" * 100)})


def test_a_folder_without_permission_makes_its_root_incomplete(reader: Path) -> None:
    """What it holds may still be there."""
    (reader / "closed").mkdir(mode=0)
    (reader / "a.txt").write_text("x")
    names, faults, listing = listed(reader)
    assert (names, faults, listing.incomplete_roots) == (["a.txt"], [("closed", "no_permission")], {reader})


def test_a_path_below_a_folder_without_permission_is_not_called_missing(reader: Path) -> None:
    """The message names the permission."""
    (reader / "closed").mkdir(mode=0)
    assert listed(reader / "closed/글.txt")[1] == [("글.txt", "no_permission")]


def test_a_file_without_permission_has_its_fault_when_it_is_opened(reader: Path) -> None:
    """Listing does not open files."""
    (reader / "a.txt").touch(mode=0)
    assert listed(reader)[0] == ["a.txt"]
    with pytest.raises(PermissionError) as caught:
        (reader / "a.txt").open("rb")
    assert fault_of(reader / "a.txt", caught.value).reason == "no_permission"


# Allowed folders


def test_what_leads_out_of_the_allowed_folders_is_refused(archive: Path, tmp_path: Path) -> None:
    """A link to a file or to a folder outside is no way round; one that stays inside is none."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/비밀.txt").write_text("x")
    (archive / "파일.txt").symlink_to(tmp_path / "secret/비밀.txt")
    (archive / "폴더").symlink_to(tmp_path / "secret")
    (archive / "안.txt").symlink_to(archive / "나.txt")
    names, faults, _ = listed(archive, allowed=(archive,))
    assert names == ["나.txt", "안.txt", "가/글.txt", "가/더/글.txt"]
    assert faults == [("파일.txt", "outside_roots"), ("폴더", "outside_roots")]


@pytest.mark.parametrize(
    "path", ["secret", "archive/../secret", "archive/../secret/*.txt", "archive/폴더/비밀.txt", "archive2"]
)
def test_a_named_path_outside_is_refused(path: str, archive: Path, tmp_path: Path) -> None:
    """Through `..`, a link, or a name that only begins alike; nothing of it is listed."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/비밀.txt").write_text("x")
    (archive / "폴더").symlink_to(tmp_path / "secret")
    names, ((_, reason),), listing = listed(tmp_path / path, allowed=(archive,))
    assert (names, reason, listing.incomplete_roots) == ([], "outside_roots", {tmp_path / path})


# Changes


def test_a_file_that_changed_while_it_was_read_is_told_of(tmp_path: Path) -> None:
    """By size, by time, or because it is gone."""
    path = tmp_path / "a.txt"
    path.write_text("x")
    before = source_of(path)
    assert fault_of_change(before) is None
    path.write_text("xy")
    changed = fault_of_change(before)
    path.unlink()
    gone = fault_of_change(before)
    assert (changed and changed.reason, gone and gone.reason) == ("changed_while_read", "vanished")
