"""Vector indexes, built one at a time while the collections are searched and written.

The points of a collection are read page by page and given to a process that builds a new shard with an index; ids of
what is written meanwhile are kept, and brought over at the end (`Collection.take_over`). No file is copied: Edge
rewrites its files in place, so a copy would be consistent only if all writes stood still for it.
"""

import asyncio
import sys
import threading
import time
import uuid
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path

import structlog

from standalone.store.collection import BuildAbandonedError, Collection
from standalone.store.collection_directory import CollectionDirectory
from standalone.store.engine import from_engine, is_panic
from standalone.store.errors import NoSpaceError, StoreError
from standalone.store.files import discard, read_ahead, room_to_read_ahead, sync_directory, used_bytes
from standalone.store.index_builder import EXIT_NO_SPACE, plan_frame
from standalone.store.meta_file import FIRST_SHARD
from standalone.store.point_pages import LAST_FRAME, encode_page, framed
from standalone.store.translation.values import PointId

_LOOK_AGAIN_S = 1.0
# 5 to 10 ms of the process, in which nobody else is served.
_PAGE_POINTS = 256
# The points, then the index beside them before they go, and what is brought over at the end.
_ROOM_FACTOR = 2.5
# About 100 bytes each.
_MAX_CHANGED = 1_000_000

_log = structlog.get_logger(__name__)


class BuilderError(StoreError):
    """The process that builds the shard has failed."""


class IndexBuilds:
    """Builds the indexes that the collections of a directory want."""

    def __init__(self, collections: CollectionDirectory) -> None:
        self._collections = collections

    async def run(self) -> None:
        """Build whatever is wanted, for ever; cancelled, it ends at once and leaves nothing behind.

        First what is searched is brought into memory, so that the first to search waits for no disk.
        """
        room = room_to_read_ahead()
        for opened in self._collections.opened:
            room -= await self._read_ahead(opened, room)
        while True:
            collection = self._next(time.monotonic())
            if collection is None:
                await asyncio.sleep(_LOOK_AGAIN_S)
            else:
                await self._try(collection)

    def _next(self, now_s: float) -> Collection | None:
        return next(
            (each for each in self._collections.opened if each.attempts.is_due(now_s) and each.wants_index), None
        )

    async def _try(self, collection: Collection) -> None:
        """Build a collection's index; a failure is logged, and tried again or given up."""
        began_s = time.monotonic()
        _log.info("index.started", collection=collection.name, points=collection.shard.info().points_count)
        try:
            indexed = await self._build(collection)
        except BaseException as error:
            if not (isinstance(error, Exception) or is_panic(error)):
                raise
            _note_failure(collection, error if isinstance(error, StoreError) else from_engine(error))
        else:
            took_s = round(time.monotonic() - began_s, 1)
            _log.info("index.built", collection=collection.name, indexed=indexed, took_s=took_s)

    async def _build(self, collection: Collection) -> int:
        """Build and take over. Returns the number of vectors in the index."""
        self._collections.require_room(extra_bytes=int(_ROOM_FACTOR * _segment_bytes(collection)))
        built = self._collections.scratch / uuid.uuid4().hex
        collection.changed = set()
        collection.is_building = True
        try:
            await self._read_ahead(collection)
            await self._run_builder(collection, built)
            self._require_use(collection)
            name = f"{FIRST_SHARD}-{built.name[:12]}"
            built.rename(collection.directory / name)
            built = collection.directory / name
            sync_directory(collection.directory)
            built = await collection.take_over(name)
            # What Edge opens it drops from the system's memory first.
            await self._read_ahead(collection)
            return collection.shard.info().indexed_vectors_count
        finally:
            collection.changed = None
            collection.is_building = False
            if built != collection.shard_directory:
                await asyncio.to_thread(discard, built, self._collections.scratch / f"doomed-{uuid.uuid4().hex}")

    async def _read_ahead(self, collection: Collection, room_bytes: int | None = None) -> int:
        """Bring a collection's files into the system's memory, as far as there is room. Returns the bytes."""
        room = room_to_read_ahead() if room_bytes is None else room_bytes
        stopping = threading.Event()
        try:
            return await asyncio.to_thread(read_ahead, collection.shard_directory / "segments", room, stopping)
        except OSError as error:  # whoever needs the file will see
            _log.warning("collection.not_read_ahead", collection=collection.name, reason=str(error))
            return 0
        finally:
            stopping.set()

    async def _run_builder(self, collection: Collection, built: Path) -> None:
        """Have the shard built. Raises BuildAbandonedError, BuilderError, NoSpaceError."""
        self._collections.scratch.mkdir(exist_ok=True)
        plan = plan_frame(built, collection.message, collection.payload_indexes(), self._collections.min_free_bytes)
        command = [sys.executable, "-m", "standalone.store.index_builder"]
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE)
        try:
            # It ends early when it fails, which its exit code then tells.
            with suppress(BrokenPipeError, ConnectionResetError):
                await self._feed(collection, process, plan)
            while process.returncode is None:
                self._require_use(collection)
                with suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), _LOOK_AGAIN_S)
        finally:
            await _end(process)
        if process.returncode == EXIT_NO_SPACE:
            self._collections.require_room()
            raise NoSpaceError("no space left for the vector index; free some")
        if process.returncode != 0:
            raise BuilderError(f"the process that builds the index ended with {process.returncode}")

    async def _feed(self, collection: Collection, process: Process, plan: bytes) -> None:
        assert process.stdin is not None
        process.stdin.write(framed(plan))
        offset: PointId | None = None
        while True:
            self._require_use(collection)
            began_s = time.monotonic()
            records, offset = collection.read_page(offset, _PAGE_POINTS)
            if records:
                process.stdin.write(framed(encode_page(records)))
            took_s = time.monotonic() - began_s
            await self._drain(collection, process.stdin)
            # At least half of the time is for who searches and writes.
            await asyncio.sleep(took_s)
            if offset is None:
                break
        process.stdin.write(framed(LAST_FRAME))
        await self._drain(collection, process.stdin)

    async def _drain(self, collection: Collection, stream: asyncio.StreamWriter) -> None:
        """Wait until the builder takes more, as long as that is of use."""
        while True:
            try:
                async with asyncio.timeout(_LOOK_AGAIN_S):
                    return await stream.drain()
            except TimeoutError:
                self._require_use(collection)

    def _require_use(self, collection: Collection) -> None:
        """Raise when the build is of no use any more, or does harm."""
        if collection.is_closed or collection.changed is None:
            raise BuildAbandonedError("the collection, or a payload index of it, was made or removed")
        if len(collection.changed) > _MAX_CHANGED:
            raise BuildAbandonedError("too much was written meanwhile")
        self._collections.require_room()


def _note_failure(collection: Collection, error: StoreError) -> None:
    attempts = collection.attempts
    reason = str(error)
    if isinstance(error, BuildAbandonedError):
        _log.info("index.abandoned", collection=collection.name, reason=reason)
    elif isinstance(error, NoSpaceError):
        attempts.wait_for_space(time.monotonic(), reason)
        _log.warning("index.postponed", collection=collection.name, reason=reason)
    else:
        attempts.fail(time.monotonic(), reason)
        _log.error(
            "index.failed",
            collection=collection.name,
            failures=attempts.failures,
            is_given_up=attempts.has_given_up,
            reason=reason,
        )


async def _end(process: Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _segment_bytes(collection: Collection) -> int:
    return used_bytes(collection.shard_directory / "segments")
