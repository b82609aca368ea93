"""What is known of a collection: the model it was indexed with, its indexed fields, whether it has words."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from qdrant_client import AsyncQdrantClient, models

from kosearch.qdrant_connection import translated_errors
from kosearch.settings import QdrantSettings
from kosearch.vector_store import (
    LEXICAL_VECTOR,
    METADATA_MODEL_FINGERPRINT,
    METADATA_MODEL_NAME,
    check_collection_name,
)

# A collection may be deleted and made again with another model; asking before every search would double the calls.
_VALID_S = 5.0


@dataclass(frozen=True, slots=True)
class CollectionFacts:
    """A collection as the store described it.

    kinds: payload path -> kind of its index (keyword, integer, float, bool, datetime, ...)
    has_words: whether its chunks have the sparse vector of their words
    asked_at: seconds of the clock
    """

    name: str
    model: str
    fingerprint: str
    kinds: Mapping[str, str]
    has_words: bool
    asked_at: float


class Collections:
    """Remembers for some seconds what the store says of collections. For the event loop only."""

    def __init__(
        self, client: AsyncQdrantClient, qdrant: QdrantSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._qdrant = qdrant
        self._clock = clock
        self._known: dict[str, CollectionFacts] = {}

    async def get(self, name: str) -> CollectionFacts:
        """Return what is known of a collection. Raises InvalidRequestError for a name that is none, NotFoundError."""
        now = self._clock()
        self._known = {other: facts for other, facts in self._known.items() if now - facts.asked_at < _VALID_S}
        known = self._known.get(name)
        if known is not None:
            return known
        with translated_errors(self._qdrant, check_collection_name(name)):
            info = await self._client.get_collection(name)
        found = self._known[name] = _facts(name, info, now)
        return found

    def forget(self, name: str) -> None:
        """Ask again next time: what was known has turned out to be wrong."""
        self._known.pop(name, None)


def _facts(name: str, info: models.CollectionInfo, now: float) -> CollectionFacts:
    metadata = info.config.metadata or {}
    return CollectionFacts(
        name=name,
        model=str(metadata.get(METADATA_MODEL_NAME, "an unknown model")),
        fingerprint=str(metadata.get(METADATA_MODEL_FINGERPRINT) or ""),
        kinds={path: index.data_type.value for path, index in info.payload_schema.items()},
        has_words=LEXICAL_VECTOR in (info.config.params.sparse_vectors or {}),
        asked_at=now,
    )
