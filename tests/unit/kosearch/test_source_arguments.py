"""What a user may name as a source."""

import os
from pathlib import Path

import pytest

from kosearch.errors import InvalidRequestError, NotFoundError
from kosearch.source_arguments import absolute_source


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the user is in, with a file in a folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/2023").mkdir(parents=True)
    (tmp_path / "data/2023/a.hwp").write_text("x")
    (tmp_path / "data/[1].txt").write_text("x")
    return tmp_path


@pytest.mark.parametrize("named", ["data", "data/2023/a.hwp", "data/[1].txt", "data/**/*.hwp", "data/*", "dat?/2023"])
def test_what_exists_and_what_fits_becomes_absolute(named: str, here: Path) -> None:
    """A pattern stays a pattern: the job expands it anew each time."""
    assert absolute_source(Path(named)) == here.resolve() / named


def test_links_before_a_pattern_are_followed(here: Path) -> None:
    """As those of a plain path."""
    (here / "link").symlink_to("data/2023")
    assert absolute_source(Path("link/*.hwp")) == here.resolve() / "data/2023/*.hwp"


@pytest.mark.parametrize("named", ["gone", "data/*.hwp", "gone/**/*.hwp", "data/[2].txt"])
def test_what_does_not_exist_is_said(named: str) -> None:
    """With its name."""
    with pytest.raises(NotFoundError) as caught:
        absolute_source(Path(named))
    assert named in str(caught.value)


def test_what_is_no_file_is_refused(here: Path) -> None:
    """A pipe, a link to nowhere, a name that is too long or no UTF-8."""
    os.mkfifo(here / "pipe")
    (here / "broken").symlink_to("nowhere")
    (here / "loop").symlink_to("loop")
    for named in ("pipe", "broken", "loop", "가" * 100, os.fsdecode(b"\xc7\xd1")):
        with pytest.raises(InvalidRequestError):
            absolute_source(Path(named))
