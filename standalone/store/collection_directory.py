"""Collections on disk: one directory each, with an Edge shard and what Edge does not keep.

    DATA_DIR/store.lock                      held by the one process
    DATA_DIR/aliases.json                    alias -> collection
    DATA_DIR/collections/NAME-ID/shard*/     Edge's files; of several directories meta.json names the valid one
    DATA_DIR/collections/NAME-ID/meta.json   the CreateCollection message; written last, so its presence means complete
    DATA_DIR/scratch/                        shards that are built or removed; emptied at start

Everything here blocks and belongs to one thread, but for `Collection.make_durable`.
"""

import json
import re
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path

import qdrant_edge as edge
import structlog
from qdrant_client import grpc as pb

from standalone.store.aliases import apply_actions
from standalone.store.collection import Collection, load_shard
from standalone.store.errors import (
    DamagedError,
    ExistsError,
    InvalidArgumentError,
    NoSpaceError,
    StoreError,
    unknown_collection,
)
from standalone.store.files import free_bytes, remove_whole, sync_directory, write_whole
from standalone.store.meta_file import FIRST_SHARD, META, Meta, dump_meta, read_meta, write_meta
from standalone.store.translation.schemas import check_create, edge_config, vector_space

_META_DRAFT = f"{META}.draft"
_DOOMED = ".deleted-"

_log = structlog.get_logger(__name__)


class CollectionDirectory:
    """All collections of a data directory, open, and their aliases."""

    def __init__(self, data_dir: Path, min_free_bytes: int) -> None:
        """Open every collection; one that cannot be opened is reported and the others served. Raises OSError."""
        self._data_dir = data_dir
        self._min_free_bytes = min_free_bytes
        self._root = data_dir / "collections"
        self._root.mkdir(parents=True, exist_ok=True)
        self.scratch = data_dir / "scratch"
        shutil.rmtree(self.scratch, ignore_errors=True)
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

    @property
    def opened(self) -> list[Collection]:
        """The collections that are open."""
        return list(self._open.values())

    @property
    def min_free_bytes(self) -> int:
        """Bytes of the disk that are left alone."""
        return self._min_free_bytes

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
            collection.discard()
            directory = collection.directory
        else:
            return False
        remove_whole(directory, self._root / (_DOOMED + directory.name))
        self._save_aliases({alias: target for alias, target in self._aliases.items() if target != name})
        _log.info("collection.deleted", collection=name, directory=directory.name)
        return True

    def change_aliases(self, actions: Iterable[pb.AliasOperations]) -> None:
        """Apply alias actions, all or none. Raises MissingError, ExistsError, InvalidArgumentError."""
        self._save_aliases(apply_actions(self._aliases, actions, self.names))
        _log.info("aliases.changed", aliases=len(self._aliases))

    def require_room(self, share: float = 1.0, extra_bytes: int = 0) -> None:
        """Raise NoSpaceError when the disk has less free than the minimum, times `share`, and `extra_bytes`.

        Edge maps its files into memory, and a write to a mapped page that the disk has no room for kills the process.
        """
        free = free_bytes(self._data_dir) - extra_bytes
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
                meta = read_meta(directory)
            except (OSError, ValueError) as error:
                has_unknown_names = True
                _log.error("collection.damaged", problem=_damage_message("?", directory, f"{META}: {error}"))
                continue
            self._open_one(directory, meta)
        return has_unknown_names

    def _open_one(self, directory: Path, meta: Meta) -> None:
        name = meta.message.collection_name
        try:
            shard = load_shard(directory / meta.shard)
            opened = Collection(directory, meta.message, shard, vector_space(meta.message), meta.shard)
        except StoreError as error:
            self._damaged[name] = (directory, str(error))
            _log.error("collection.damaged", problem=_damage_message(name, directory, str(error)))
            return
        for other in directory.glob(f"{FIRST_SHARD}*"):
            if other.name != meta.shard:
                shutil.rmtree(other)
        self._open[name] = opened
        _log.info("collection.opened", collection=name, points=opened.shard.info().points_count)

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
    (directory / _META_DRAFT).write_text(dump_meta(Meta(message)), encoding="utf-8")
    shard = edge.EdgeShard.create(str(directory / FIRST_SHARD), edge_config(message))
    shard.flush()
    write_meta(directory, Meta(message))
    (directory / _META_DRAFT).unlink()
    sync_directory(directory.parent)
    return Collection(directory, message, shard, vector_space(message))


def _is_unfinished(directory: Path) -> bool:
    """Tell a creation that a crash cut short from a damaged collection: the draft is there, or nothing is."""
    return not (directory / META).exists() and ((directory / _META_DRAFT).exists() or not any(directory.iterdir()))


def _directory_name(collection: str) -> str:
    """Return a new directory name: readable, short enough for any file system, and never used before."""
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '_', collection)[:40]}-{uuid.uuid4().hex[:12]}"


def _damage_message(name: str, directory: Path, reason: str) -> str:
    return (
        f"collection `{name}` in {directory} cannot be opened ({reason}); stop the store and restore the directory "
        "from a backup, or remove it and index the collection again"
    )
