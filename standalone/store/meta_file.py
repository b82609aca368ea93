"""meta.json: what a collection was created with, and which directory beside the file holds its shard.

The file is replaced in one step, so it decides after a crash which of two shards is the collection's.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import json_format
from qdrant_client import grpc as pb

from standalone.store.files import write_whole

META = "meta.json"
FIRST_SHARD = "shard"
# Format 2 names the shard's directory. A store that knows only format 1 would look for the one that is gone.
_FORMAT = 1
_FORMAT_WITH_SHARD = 2


@dataclass(frozen=True, slots=True)
class Meta:
    """What the file holds. `shard`: name of the directory."""

    message: pb.CreateCollection
    shard: str = FIRST_SHARD


def read_meta(directory: Path) -> Meta:
    """Return what the collection's file holds. Raises OSError, and ValueError when `write_meta` did not write it."""
    document = json.loads((directory / META).read_text(encoding="utf-8"))
    if not isinstance(document, dict) or document.get("format") not in (_FORMAT, _FORMAT_WITH_SHARD):
        raise ValueError(f"not of format {_FORMAT} or {_FORMAT_WITH_SHARD}")
    shard = document.get("shard", FIRST_SHARD)
    if not isinstance(shard, str) or shard in ("", ".", "..") or "/" in shard:
        raise ValueError(f"{shard!r} is no directory's name")
    try:
        return Meta(json_format.ParseDict(document["collection"], pb.CreateCollection()), shard)
    except (KeyError, json_format.ParseError) as error:
        raise ValueError(str(error)) from error


def write_meta(directory: Path, meta: Meta) -> None:
    """Replace the collection's file. Raises OSError; then it is the old one or the new one."""
    write_whole(directory / META, dump_meta(meta))


def dump_meta(meta: Meta) -> str:
    """Return the file's text."""
    written = {
        "format": _FORMAT,
        "collection": json_format.MessageToDict(meta.message, preserving_proto_field_name=True),
    }
    if meta.shard != FIRST_SHARD:
        written |= {"format": _FORMAT_WITH_SHARD, "shard": meta.shard}
    return json.dumps(written, ensure_ascii=False, indent=1)
