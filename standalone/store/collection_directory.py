"""Collections on disk: one directory each, with an Edge shard and what Edge does not keep.

    DATA_DIR/store.lock                      held by the one process
    DATA_DIR/aliases.json                    alias -> collection
    DATA_DIR/collections/NAME-ID/shard/      Edge's files
    DATA_DIR/collections/NAME-ID/meta.json   the CreateCollection message; written last, so its presence means complete

Everything here blocks and belongs to one thread, but for `Collection.make_durable`.
"""

import asyncio
import json
import re
import shutil
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import qdrant_edge as edge
import structlog
from google.protobuf import json_format
from qdrant_client import grpc as pb

from standalone.store.aliases import apply_actions
from standalone.store.engine import from_engine, is_panic
from standalone.store.errors import (
    DamagedError,
    ExistsError,
    InvalidArgumentError,
    NoSpaceError,
    StoreError,
    unknown_collection,
)
from standalone.store.files import free_bytes, remove_whole, sync_directory, sync_wal, write_whole
from standalone.store.translation.points import VectorSpace
from standalone.store.translation.schemas import check_create, edge_config, merge_metadata, vector_space

_META = "meta.json"
_META_DRAFT = "meta.json.draft"
_DOOMED = ".deleted-"
_FORMAT = 1
# A flush holds the whole process for about 0.1 s and a start replays what was not flushed, 40,000 points a second.
_FLUSH_AFTER_POINTS = 50_000
_FLUSH_AFTER_IDLE_S = 2.0

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Collection:
    """An open collection. `written` counts updates, `durable` those that survive a power cut."""

    directory: Path
    message: pb.CreateCollection
    shard: edge.EdgeShard
    space: VectorSpace
    written: int = 0
    durable: int = 0
    unflushed_points: int = 0
    last_write_s: float = 0.0
    _sealed: set[str] = field(default_factory=set)
    _syncing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def name(self) -> str:
        """The collection's own name."""
        return self.message.collection_name

    def update(self, operation: edge.UpdateOperation, points: int = 1) -> int:
        """Apply an update of about `points` points. Returns its number; it survives kill -9, not yet a power cut."""
        self.written += 1
        self.unflushed_points += points
        self.last_write_s = time.monotonic()
        self.shard.update(operation)
        return self.written

    async def make_durable(self, update: int) -> None:
        """Return when the update of this number survives a power cut; waiters share one sync of the log.

        A flush would do as well, but holds the process for 100 ms where this takes 1 ms of a thread. Raises OSError,
        and MissingError when the collection is deleted meanwhile.
        """
        async with self._syncing:
            if self.durable < update:
                target = self.written
                try:
                    await asyncio.to_thread(sync_wal, self.directory / "shard" / "wal", self._sealed)
                except FileNotFoundError as error:
                    raise unknown_collection(self.name) from error  # deleted meanwhile
                self.durable = max(self.durable, target)

    def wants_flush(self, now_s: float) -> bool:
        """Tell whether the log has grown long, or writing has paused. `now_s`: time.monotonic()."""
        idle = now_s - self.last_write_s >= _FLUSH_AFTER_IDLE_S
        return self.unflushed_points >= _FLUSH_AFTER_POINTS or (self.unflushed_points > 0 and idle)

    def flush(self) -> None:
        """Write the shard's segments to disk and drop its log."""
        self.shard.flush()
        self.unflushed_points = 0
        self.durable = self.written

    def close(self) -> None:
        """Flush and close the shard."""
        try:
            self.flush()
        finally:
            self.shard.close()


class CollectionDirectory:
    """All collections of a data directory, open, and their aliases."""

    def __init__(self, data_dir: Path, min_free_bytes: int) -> None:
        """Open every collection; one that cannot be opened is reported and the others served. Raises OSError."""
        self._data_dir = data_dir
        self._min_free_bytes = min_free_bytes
        self._root = data_dir / "collections"
        self._root.mkdir(parents=True, exist_ok=True)
        self._open: dict[str, Collection] = {}
        self._damaged: dict[str, tuple[Path, str]] = {}
        has_unknown_names = self._open_all()
        self._aliases = self._read_aliases()
        if not has_unknown_names:
            self._aliases = {alias: name for alias, name in self._aliases.items() if name in self.names}

    @property
    def names(self) -> set[str]:
        """Names of all collections, those that could not be opened included."""
        return self._open.keys() | self._damaged.keys()

    @property
    def aliases(self) -> dict[str, str]:
        """A copy of the aliases: alias -> collection."""
        return dict(self._aliases)

    def exists(self, name: str) -> bool:
        """Tell whether the name is a collection's or an alias."""
        return name in self.names or name in self._aliases

    def get(self, name: str) -> Collection:
        """Return the collection of this name or alias. Raises MissingError, DamagedError."""
        own_name = self._aliases.get(name, name)
        if own_name in self._damaged:
            directory, reason = self._damaged[own_name]
            raise DamagedError(_damage_message(own_name, directory, reason))
        try:
            return self._open[own_name]
        except KeyError:
            raise unknown_collection(name) from None

    def create(self, message: pb.CreateCollection) -> None:
        """Make a collection. Raises ExistsError, InvalidArgumentError, UnsupportedError, NoSpaceError."""
        check_create(message)
        name = message.collection_name
        if name in self.names:
            raise ExistsError(f"Wrong input: Collection `{name}` already exists!")
        if name in self._aliases:
            raise InvalidArgumentError(
                f"Wrong input: Can't create collection with name {name}. Alias with the same name already exists"
            )
        self.require_room()
        directory = self._root / _directory_name(name)
        directory.mkdir()
        try:
            self._open[name] = _build(directory, message)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        _log.info("collection.created", collection=name, directory=directory.name)

    def delete(self, name: str) -> bool:
        """Delete a collection with its aliases. Returns whether there was one; an alias is none."""
        if name in self._damaged:
            directory = self._damaged.pop(name)[0]
        elif name in self._open:
            collection = self._open.pop(name)
            collection.shard.close()
            directory = collection.directory
        else:
            return False
        remove_whole(directory, self._root / (_DOOMED + directory.name))
        self._save_aliases({alias: target for alias, target in self._aliases.items() if target != name})
        _log.info("collection.deleted", collection=name, directory=directory.name)
        return True

    def change_metadata(self, name: str, changes: pb.UpdateCollection) -> None:
        """Change a collection's metadata key by key. Raises MissingError, DamagedError."""
        collection = self.get(name)
        message = merge_metadata(collection.message, changes.metadata)
        write_whole(collection.directory / _META, _dump(message))
        collection.message = message

    def change_aliases(self, actions: Iterable[pb.AliasOperations]) -> None:
        """Apply alias actions, all or none. Raises MissingError, ExistsError, InvalidArgumentError."""
        self._save_aliases(apply_actions(self._aliases, actions, self.names))
        _log.info("aliases.changed", aliases=len(self._aliases))

    def require_room(self, share: float = 1.0) -> None:
        """Raise NoSpaceError when the disk has less free than the minimum, times `share`.

        Edge maps its files into memory, and a write to a mapped page that the disk has no room for kills the process.
        """
        free = free_bytes(self._data_dir)
        if free < self._min_free_bytes * share:
            raise NoSpaceError(
                f"no space left: the disk of {self._data_dir} has {free >> 20} MiB free and the store stops writing at "
                f"{int(self._min_free_bytes * share) >> 20} MiB; free some, or move the data directory to another disk"
            )

    def flush_where_due(self, now_s: float) -> None:
        """Flush the collections that want it; a failure is logged and tried again later. `now_s`: time.monotonic()."""
        for collection in self._open.values():
            if collection.wants_flush(now_s):
                try:
                    collection.flush()
                except Exception as error:  # Edge raises nothing narrower
                    collection.last_write_s = now_s
                    _log.error("collection.flush_failed", collection=collection.name, reason=str(error))

    def close(self) -> None:
        """Flush and close every collection; a failure is logged and the others closed."""
        for collection in self._open.values():
            try:
                collection.close()
            except Exception as error:  # Edge raises nothing narrower
                _log.error("collection.close_failed", collection=collection.name, reason=str(error))
        self._open.clear()

    def _open_all(self) -> bool:
        """Open what is there. Returns whether a directory was found whose collection's name cannot be told."""
        has_unknown_names = False
        for directory in sorted(path for path in self._root.iterdir() if path.is_dir()):
            if directory.name.startswith(_DOOMED) or _is_unfinished(directory):
                shutil.rmtree(directory)
                _log.info("collection.discarded", directory=directory.name)
                continue
            try:
                message = _load((directory / _META).read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                has_unknown_names = True
                _log.error("collection.damaged", problem=_damage_message("?", directory, f"{_META}: {error}"))
                continue
            self._open_one(directory, message)
        return has_unknown_names

    def _open_one(self, directory: Path, message: pb.CreateCollection) -> None:
        name = message.collection_name
        try:
            self._open[name] = Collection(directory, message, _load_shard(directory / "shard"), vector_space(message))
        except StoreError as error:
            self._damaged[name] = (directory, str(error))
            _log.error("collection.damaged", problem=_damage_message(name, directory, str(error)))
            return
        _log.info("collection.opened", collection=name, points=self._open[name].shard.info().points_count)

    def _read_aliases(self) -> dict[str, str]:
        path = self._data_dir / "aliases.json"
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise DamagedError(
                f"{path} cannot be read ({error}); restore it from a backup, or delete it and make the aliases again"
            ) from error

    def _save_aliases(self, aliases: dict[str, str]) -> None:
        if aliases != self._aliases:
            write_whole(self._data_dir / "aliases.json", json.dumps(aliases, ensure_ascii=False, indent=1))
            self._aliases = aliases


def _build(directory: Path, message: pb.CreateCollection) -> Collection:
    (directory / _META_DRAFT).write_text(_dump(message), encoding="utf-8")
    shard = edge.EdgeShard.create(str(directory / "shard"), edge_config(message))
    shard.flush()
    write_whole(directory / _META, _dump(message))
    (directory / _META_DRAFT).unlink()
    sync_directory(directory.parent)
    return Collection(directory, message, shard, vector_space(message))


def _load_shard(path: Path) -> edge.EdgeShard:
    # Edge takes a missing segment for an empty shard.
    if not any((path / "segments").glob("*")):
        raise StoreError(f"{path / 'segments'} is empty or missing")
    try:
        return edge.EdgeShard.load(str(path))
    except BaseException as error:
        if isinstance(error, Exception) or is_panic(error):
            raise from_engine(error) from error
        raise


def _is_unfinished(directory: Path) -> bool:
    """Tell a creation that a crash cut short from a damaged collection: the draft is there, or nothing is."""
    return not (directory / _META).exists() and ((directory / _META_DRAFT).exists() or not any(directory.iterdir()))


def _directory_name(collection: str) -> str:
    """Return a new directory name: readable, short enough for any file system, and never used before."""
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '_', collection)[:40]}-{uuid.uuid4().hex[:12]}"


def _damage_message(name: str, directory: Path, reason: str) -> str:
    return (
        f"collection `{name}` in {directory} cannot be opened ({reason}); stop the store and restore the directory "
        "from a backup, or remove it and index the collection again"
    )


def _dump(message: pb.CreateCollection) -> str:
    written = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return json.dumps({"format": _FORMAT, "collection": written}, ensure_ascii=False, indent=1)


def _load(text: str) -> pb.CreateCollection:
    """Return the message. Raises ValueError when the text is not what `_dump` wrote."""
    document = json.loads(text)
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise ValueError(f"not of format {_FORMAT}")
    try:
        message = json_format.ParseDict(document["collection"], pb.CreateCollection())
    except (KeyError, json_format.ParseError) as error:
        raise ValueError(str(error)) from error
    return message
