"""Build a shard with its vector index: `python -m standalone.store.index_builder < PLAN_AND_POINTS`, by the store.

A process of its own, because Edge holds the interpreter for as long as it builds. It ends when the store does.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import BinaryIO

import orjson
import qdrant_edge as edge
from google.protobuf import json_format
from qdrant_client import grpc as pb

from standalone.store.files import free_bytes, sync_tree
from standalone.store.point_pages import decode_page, read_frame
from standalone.store.translation.schemas import index_from_pb, indexed_edge_config

EXIT_NO_SPACE = 3
# The store's calls come first.
_NICENESS = 10
_FLUSH_AFTER_POINTS = 50_000
_PR_SET_PDEATHSIG = 1


def plan_frame(
    shard: Path, collection: pb.CreateCollection, indexes: list[pb.CreateFieldIndexCollection], min_free_bytes: int
) -> bytes:
    """Return the content of the first frame: where to build, what, and how much of the disk to leave alone."""
    return orjson.dumps(
        {
            "shard": str(shard),
            "collection": json_format.MessageToDict(collection),
            "indexes": [json_format.MessageToDict(index) for index in indexes],
            "min_free_bytes": min_free_bytes,
        }
    )


def main() -> int:
    """Build what standard input says. Returns the exit code."""
    _end_with_the_store()
    os.nice(_NICENESS)
    return build(sys.stdin.buffer)


def build(stream: BinaryIO) -> int:
    """Build the shard and make it durable. Returns the exit code. Raises EOFError when the store gave up."""
    plan = orjson.loads(read_frame(stream))
    path = Path(plan["shard"])
    collection = json_format.ParseDict(plan["collection"], pb.CreateCollection())
    path.mkdir(parents=True)
    shard = edge.EdgeShard.create(str(path), indexed_edge_config(collection))
    # Before the points: the links of the index are made with them in mind.
    for index in plan["indexes"]:
        message = json_format.ParseDict(index, pb.CreateFieldIndexCollection())
        shard.update(edge.UpdateOperation.create_field_index(message.field_name, index_from_pb(message)))
    unflushed = 0
    while content := read_frame(stream):
        page = decode_page(content)
        shard.update(edge.UpdateOperation.upsert_points(page))
        unflushed += len(page)
        if unflushed >= _FLUSH_AFTER_POINTS:
            shard.flush()
            unflushed = 0
        if free_bytes(path) < plan["min_free_bytes"]:
            return EXIT_NO_SPACE
    shard.optimize()
    shard.flush()
    shard.close()
    sync_tree(path)
    return 0


def _end_with_the_store() -> None:
    """Have Linux kill this process when its parent dies; elsewhere it ends with its work, which nobody then takes."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
