"""What becomes of a build that cannot be."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from standalone.store import index_builds
from standalone.store.errors import NoSpaceError
from standalone.store.index_builds import IndexBuilds
from standalone.store.index_policy import BuildAttempts


class FullDisk:
    """Collections on a disk with room for writes, not for a second shard."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch

    def require_room(self, share: float = 1.0, extra_bytes: int = 0) -> None:
        """Refuse whatever is more than nothing."""
        if extra_bytes:
            raise NoSpaceError(f"no space left for {extra_bytes}")


def collection(directory: Path) -> Any:
    """Return a collection that wants an index."""
    shard = SimpleNamespace(info=lambda: SimpleNamespace(points_count=1, indexed_vectors_count=0))
    return SimpleNamespace(
        name="c", shard=shard, shard_directory=directory, attempts=BuildAttempts(), changed=None, is_building=False
    )


async def test_a_build_without_room_is_postponed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_builds, "used_bytes", lambda _directory: 1000)
    wanting = collection(tmp_path)
    await IndexBuilds(FullDisk(tmp_path))._try(wanting)  # type: ignore[arg-type]
    assert wanting.attempts.problem == "no space left for 2500"
    assert not wanting.attempts.has_given_up
    assert wanting.is_building is False
