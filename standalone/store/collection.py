"""An open collection: its shard, what of it is durable, what of it is indexed, and the shard that is to replace it."""

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import qdrant_edge as edge
import structlog
from qdrant_client import grpc as pb

from standalone.store.engine import from_engine, is_panic
from standalone.store.errors import StoreError, unknown_collection
from standalone.store.files import sync_wal
from standalone.store.index_policy import BuildAttempts, wants_index
from standalone.store.meta_file import FIRST_SHARD, Meta, write_meta
from standalone.store.translation import schemas
from standalone.store.translation.values import PointId
from standalone.store.translation.vectors import VectorSpace

# A flush holds the whole process for about 0.1 s and a start replays what was not flushed, 40,000 points a second.
_FLUSH_AFTER_POINTS = 50_000
_FLUSH_AFTER_IDLE_S = 2.0
# 20 to 40 ms of copying points from the old shard to its successor.
_CATCH_UP_POINTS = 512
_IDS_A_PAGE = 10_000
_VERSION_BYTES = 8
_FLOAT_BYTES = 4

_log = structlog.get_logger(__name__)


class BuildAbandonedError(StoreError):
    """The shard that is being built is of no use any more."""


@dataclass(slots=True)
class Collection:
    """An open collection. `written` counts updates, `durable` those that survive a power cut."""

    directory: Path
    message: pb.CreateCollection
    shard: edge.EdgeShard
    space: VectorSpace
    shard_name: str = FIRST_SHARD
    written: int = 0
    durable: int = 0
    unflushed_points: int = 0
    last_write_s: float = 0.0
    is_closed: bool = False
    is_building: bool = False
    attempts: BuildAttempts = field(default_factory=BuildAttempts)
    # Ids whose points differ, or may, from those given to the builder of the next shard; None: nobody keeps track.
    changed: set[PointId] | None = None
    _successor: edge.EdgeShard | None = None
    _successor_slots: int = 0
    _unindexed_slots: int = 0
    _sealed: set[str] = field(default_factory=set)
    _syncing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self._unindexed_slots = _slots_without_index(self.shard_directory)

    @property
    def name(self) -> str:
        """The collection's own name."""
        return self.message.collection_name

    @property
    def shard_directory(self) -> Path:
        """Where the shard's files are."""
        return self.directory / self.shard_name

    @property
    def unindexed_points(self) -> int:
        """Points that are found by a scan; at most, where some were overwritten."""
        return min(self._unindexed_slots, self.shard.info().points_count)

    @property
    def wants_index(self) -> bool:
        """Tell whether enough points are unindexed."""
        point_bytes = sum(self.space.dims.values()) * _FLOAT_BYTES
        threshold_kib = schemas.indexing_threshold_kib(self.message)
        return wants_index(self.shard.info().points_count, self.unindexed_points, point_bytes, threshold_kib)

    def index_status(self) -> schemas.IndexStatus:
        """Return how far the vector index is."""
        is_wanted = self.is_building or self.wants_index
        return schemas.IndexStatus(self.unindexed_points, is_wanted, self.attempts.problem if is_wanted else "")

    def change(self, request: pb.UpdateCollection) -> None:
        """Change metadata, key by key, and indexing threshold. Raises UnsupportedError, OSError."""
        message = schemas.merge_metadata(self.message, request.metadata)
        message = schemas.merge_optimizers(message, request.optimizers_config)
        write_meta(self.directory, Meta(message, self.shard_name))
        self.message = message
        if request.HasField("optimizers_config"):
            self.attempts.forget()

    def update(self, operation: edge.UpdateOperation, ids: Iterable[PointId] = (), upserted: int = 0) -> int:
        """Apply an update. Returns its number; it survives kill -9, not yet a power cut.

        `ids`: the points that it changes, all of them; an update by filter has them by `resolve`. `upserted`: of these
        the ones that are written.
        """
        touched = set(ids)
        self.written += 1
        self.unflushed_points += max(1, len(touched))
        self.last_write_s = time.monotonic()
        try:
            self.shard.update(operation)
        finally:
            # After a failure, too: it may have changed some of them.
            self._unindexed_slots += upserted
            if self.changed is not None:
                self.changed |= touched
        if self._successor is not None:
            # Whoever writes helps to catch up, or it might never end.
            self._catch_up(max(_CATCH_UP_POINTS, 2 * len(touched)))
        return self.written

    def update_schema(self, operation: edge.UpdateOperation) -> int:
        """Make or remove a payload index. Returns the update's number. A build in progress is given up."""
        self.changed = None
        return self.update(operation)

    def resolve(self, selected: list[PointId] | edge.Filter) -> list[PointId] | edge.Filter:
        """Return the ids of the points that a filter selects while somebody keeps track of changes, else the same."""
        if self.changed is None or isinstance(selected, list):
            return selected
        ids: list[PointId] = []
        offset = None
        while True:
            request = edge.ScrollRequest(
                limit=_IDS_A_PAGE, offset=offset, filter=selected, with_payload=False, with_vector=False
            )
            page, offset = self.shard.scroll(request)
            ids += [record.id for record in page]
            if offset is None:
                return ids

    async def make_durable(self, update: int) -> None:
        """Return when the update of this number survives a power cut; waiters share one sync of the log.

        A flush would do as well, but holds the process for 100 ms where this takes 1 ms of a thread. Raises OSError,
        and MissingError when the collection is deleted meanwhile.
        """
        async with self._syncing:
            while self.durable < update:
                target, synced = self.written, self.shard_name
                try:
                    await asyncio.to_thread(sync_wal, self.shard_directory / "wal", self._sealed)
                except FileNotFoundError as error:
                    if self.shard_name == synced:
                        raise unknown_collection(self.name) from error  # deleted meanwhile
                    continue  # the shard was replaced, which made durable what it held
                if self.shard_name == synced:
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
        self._unindexed_slots = _slots_without_index(self.shard_directory)

    def payload_indexes(self) -> list[pb.CreateFieldIndexCollection]:
        """Return the requests that make payload indexes like the shard's."""
        return [schemas.index_to_pb(name, index) for name, index in self.shard.info().payload_schema.items()]

    def read_page(self, offset: PointId | None, limit: int) -> tuple[list["edge.Record"], PointId | None]:
        """Return points from this id on with payload and vectors, and the id of the next page."""
        return self.shard.scroll(edge.ScrollRequest(limit=limit, offset=offset, with_payload=True, with_vector=True))

    async def take_over(self, shard_name: str) -> Path:
        """Replace the shard by the one of this directory beside it. Returns the directory of the old one.

        Searches and writes go on in between; none waits for longer than the opening of the shard takes. When it fails
        the shard stays the old one. Raises BuildAbandonedError, StoreError, OSError.
        """
        assert self.changed is not None
        self._successor = load_shard(self.directory / shard_name)
        self._successor_slots = _slots_without_index(self.directory / shard_name)
        try:
            while self.changed or self.changed is None:
                if self.changed is None or self.is_closed:
                    raise BuildAbandonedError("the collection changed while its index was built")
                self._catch_up(_CATCH_UP_POINTS)
                await asyncio.sleep(0)
            # From here on nobody else runs.
            sync_wal(self.directory / shard_name / "wal", set())
            self._name_shard(shard_name)
        except BaseException:
            with suppress(Exception):
                self._successor.close()
            raise
        else:
            return self._swap(self._successor, shard_name)
        finally:
            self._successor = None

    def close(self) -> None:
        """Flush and close the shard."""
        self.is_closed = True
        try:
            self.flush()
        finally:
            self.shard.close()

    def discard(self) -> None:
        """Close the shard of a collection that is to be deleted."""
        self.is_closed = True
        self.shard.close()

    def _name_shard(self, shard_name: str) -> None:
        try:
            write_meta(self.directory, Meta(self.message, shard_name))
        except OSError:
            with suppress(OSError):  # it may have been replaced, and only not been made durable
                write_meta(self.directory, Meta(self.message, self.shard_name))
            raise

    def _swap(self, successor: edge.EdgeShard, shard_name: str) -> Path:
        old, old_directory = self.shard, self.shard_directory
        self.shard, self.shard_name = successor, shard_name
        self._unindexed_slots = self._successor_slots  # not in the files yet
        self.unflushed_points = 1
        self.durable = self.written
        self._sealed = set()
        self.changed = None
        self.attempts.forget()
        try:
            old.close()
        except BaseException as error:  # nobody needs it any more
            if not (isinstance(error, Exception) or is_panic(error)):
                raise
        return old_directory

    def _catch_up(self, count: int) -> None:
        """Bring so many changed points of the successor to what they are in the shard."""
        if not self.changed or self._successor is None:
            return
        ids = [self.changed.pop() for _ in range(min(count, len(self.changed)))]
        try:
            found = self.shard.retrieve(ids, True, True)
            points = [edge.Point(record.id, record.vector or {}, record.payload or {}) for record in found]
            gone = list(set(ids) - {point.id for point in points})
            if points:
                self._successor.update(edge.UpdateOperation.upsert_points(points))
                self._successor_slots += len(points)
            if gone:
                self._successor.update(edge.UpdateOperation.delete_points(gone))
        except BaseException as error:
            if not (isinstance(error, Exception) or is_panic(error)):
                raise
            # The write that came along with this is done and well; the successor is what is lost.
            self.changed = None
            _log.error("index.catch_up_failed", collection=self.name, reason=str(error))


def load_shard(path: Path) -> edge.EdgeShard:
    """Open a shard. Raises StoreError."""
    # Edge takes a missing segment for an empty shard.
    if not any((path / "segments").glob("*")):
        raise StoreError(f"{path / 'segments'} is empty or missing")
    try:
        shard = edge.EdgeShard.load(str(path))
        shard.flush()  # what the log brought back is then in the files, and can be counted
        return shard
    except BaseException as error:
        if isinstance(error, Exception) or is_panic(error):
            raise from_engine(error) from error
        raise


def _slots_without_index(shard_directory: Path) -> int:
    """Return how many points were ever put into the shard's segments that take writes: those have no vector index.

    Edge does not tell; these segments keep a version of 8 bytes for each.
    """
    files = (shard_directory / "segments").glob("*/mutable_id_tracker.versions")
    return sum(path.stat().st_size // _VERSION_BYTES for path in files)
