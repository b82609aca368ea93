"""The file that says which shard is a collection's."""

import json
from pathlib import Path

import pytest
from qdrant_client import grpc as pb

from standalone.store.meta_file import FIRST_SHARD, META, Meta, read_meta, write_meta

MESSAGE = pb.CreateCollection(
    collection_name="법령", optimizers_config=pb.OptimizersConfigDiff(indexing_threshold=2**40)
)


@pytest.mark.parametrize("shard", [FIRST_SHARD, "shard-1a2b"])
def test_what_was_written_is_read(tmp_path: Path, shard: str) -> None:
    write_meta(tmp_path, Meta(MESSAGE, shard))
    assert read_meta(tmp_path) == Meta(MESSAGE, shard)


def test_a_store_that_knows_one_shard_only_is_warned(tmp_path: Path) -> None:
    """It reads format 1, and would take the collection for damaged rather than for empty."""
    formats = []
    for shard in (FIRST_SHARD, "shard-1a2b"):
        write_meta(tmp_path, Meta(MESSAGE, shard))
        formats.append(json.loads((tmp_path / META).read_text(encoding="utf-8"))["format"])
    assert formats == [1, 2]


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"format": 99}', '{"format": 1}', '{"format": 2, "collection": {}, "shard": "../other"}'],
)
def test_anything_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / META).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r".*"):
        read_meta(tmp_path)
