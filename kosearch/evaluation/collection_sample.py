"""Reads samples of a collection from Qdrant: the same ones for the same seed, and every document as likely as another.

A point's id is a hash of document id and place (kosearch/documents.py), and Qdrant scrolls in the order of ids: what
follows a random id is therefore a random sample, found without reading the rest of the collection.
"""

import uuid
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from kosearch.errors import InvalidRequestError
from kosearch.evaluation.known_items import SampledDocument
from kosearch.qdrant_connection import connect, translated_errors
from kosearch.settings import QdrantSettings
from kosearch.vector_store import (
    METADATA_MODEL_FINGERPRINT,
    PAYLOAD_CHUNK_INDEX,
    PAYLOAD_DOCUMENT_ID,
    PAYLOAD_TEXT,
    PAYLOAD_TITLE,
)

_POINTS_A_PAGE = 1_000
_IDS_A_REQUEST = 1_000
_FIRST_CHUNKS = models.FieldCondition(key=PAYLOAD_CHUNK_INDEX, match=models.MatchValue(value=0))


class CollectionSample:
    """A reader of one collection; blocking."""

    def __init__(self, settings: QdrantSettings, collection: str) -> None:
        self._settings = settings
        self._collection = collection
        self._client = connect(settings)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def documents(self, count: int, seed: int) -> list[SampledDocument]:
        """Return `count` documents, or all where there are fewer, in an order of their own.

        Raises NotFoundError, InvalidRequestError for an empty collection.
        """
        only_first = models.Filter(must=[_FIRST_CHUNKS])
        points = self._from_a_random_place(count, seed, only_first, [PAYLOAD_DOCUMENT_ID], with_vectors=False)
        ids = [str(point.payload[PAYLOAD_DOCUMENT_ID]) for point in points if point.payload]
        if not ids:
            raise InvalidRequestError(f"collection {self._collection!r} is empty: index documents first")
        chunks: dict[str, list[dict[str, Any]]] = {}
        for payload in self._chunks_of(ids):
            chunks.setdefault(str(payload[PAYLOAD_DOCUMENT_ID]), []).append(payload)
        return [_put_together(document_id, chunks[document_id]) for document_id in ids if document_id in chunks]

    def missing(self, document_ids: Collection[str]) -> set[str]:
        """Return those of these documents that the collection does not hold. Raises NotFoundError."""
        found = set()
        for some in _parts(sorted(document_ids)):
            asked = models.Filter(must=[_of_documents(some), _FIRST_CHUNKS])
            found |= {str(point.payload[PAYLOAD_DOCUMENT_ID]) for point in self._scroll(asked, [PAYLOAD_DOCUMENT_ID])}
        return set(document_ids) - found

    def embeddings(self, limit: int, seed: int) -> NDArray[np.float32]:
        """Return the embeddings of `limit` chunks, or of all where there are fewer, as unit rows (chunks, dim).

        Raises NotFoundError, InvalidRequestError for an empty collection.
        """
        points = self._from_a_random_place(limit, seed, None, False, with_vectors=True)
        # One after the other: as lists of Python's numbers they would take eight times the memory.
        rows = [np.asarray(_dense(point.vector), dtype=np.float32) for point in points]
        if not rows:
            raise InvalidRequestError(f"collection {self._collection!r} is empty: index documents first")
        return np.stack(rows)

    def count(self) -> int:
        """Return the number of chunks. Raises NotFoundError."""
        with translated_errors(self._settings, self._collection):
            return self._client.count(self._collection, exact=True).count

    def model_fingerprint(self) -> str:
        """Return the fingerprint of the model that the collection was indexed with. Raises NotFoundError."""
        with translated_errors(self._settings, self._collection):
            info = self._client.get_collection(self._collection)
        return str((info.config.metadata or {}).get(METADATA_MODEL_FINGERPRINT, ""))

    def _from_a_random_place(
        self,
        count: int,
        seed: int,
        chosen: models.Filter | None,
        payload: list[str] | bool,
        *,
        with_vectors: bool,
    ) -> Iterator[models.Record]:
        start = uuid.UUID(bytes=np.random.default_rng(seed).bytes(16), version=5)
        seen: set[Any] = set()
        # Behind the last id comes the first one.
        for offset in (str(start), None):
            for point in self._scroll(chosen, payload, offset, with_vectors=with_vectors):
                if len(seen) == count or point.id in seen:
                    return
                seen.add(point.id)
                yield point

    def _chunks_of(self, document_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
        wanted = [PAYLOAD_DOCUMENT_ID, PAYLOAD_CHUNK_INDEX, PAYLOAD_TITLE, PAYLOAD_TEXT]
        for some in _parts(document_ids):
            for point in self._scroll(models.Filter(must=[_of_documents(some)]), wanted):
                yield point.payload or {}

    def _scroll(
        self,
        chosen: models.Filter | None,
        payload: list[str] | bool,
        offset: Any = None,
        *,
        with_vectors: bool = False,
    ) -> Iterator[Any]:
        while True:
            with translated_errors(self._settings, self._collection):
                points, offset = self._client.scroll(
                    self._collection,
                    scroll_filter=chosen,
                    limit=_POINTS_A_PAGE,
                    offset=offset,
                    with_payload=payload,
                    with_vectors=with_vectors,
                )
            yield from points
            if offset is None:
                return


def _of_documents(ids: Sequence[str]) -> models.FieldCondition:
    return models.FieldCondition(key=PAYLOAD_DOCUMENT_ID, match=models.MatchAny(any=list(ids)))


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _IDS_A_REQUEST):
        yield ids[start : start + _IDS_A_REQUEST]


def _put_together(document_id: str, chunks: Sequence[dict[str, Any]]) -> SampledDocument:
    # Chunks neither overlap nor leave out anything but white space.
    in_order = sorted(chunks, key=lambda payload: int(payload[PAYLOAD_CHUNK_INDEX]))
    text = "\n".join(str(payload[PAYLOAD_TEXT]) for payload in in_order)
    return SampledDocument(document_id, str(in_order[0][PAYLOAD_TITLE]), text)


def _dense(vector: Any) -> Any:
    # Beside a chunk's words its embedding is the vector without a name.
    return vector[""] if isinstance(vector, dict) else vector
