"""The use case Encode: texts in, embeddings out."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from encoder_service.batcher import Batcher
from encoder_service.engines.engine import Embeddings
from encoder_service.tokeniser import Tokeniser
from kosearch.errors import InvalidRequestError


@dataclass(frozen=True, slots=True)
class Encoded:
    """Embeddings of shape (texts, dim), and for each text its tokens and whether its tail was left out."""

    embeddings: Embeddings
    token_counts: list[int]
    truncated: list[bool]


class Encoder:
    """Tokenises in threads of its own, then waits for the batches."""

    def __init__(self, tokeniser: Tokeniser, tokeniser_threads: Executor, batcher: Batcher, max_texts: int) -> None:
        self._tokeniser = tokeniser
        self._tokeniser_threads = tokeniser_threads
        self._batcher = batcher
        self._max_texts = max_texts

    async def encode(self, texts: Sequence[str]) -> Encoded:
        """Encode texts in the order given.

        Raises InvalidRequestError on no text, too many, an empty or too long one; OverloadedError when the queue is
        full; UnavailableError when the service stops.
        """
        if not texts:
            raise InvalidRequestError("the request has no text; send at least one")
        if len(texts) > self._max_texts:
            raise InvalidRequestError(
                f"the request has {len(texts):,} texts, {self._max_texts:,} are accepted; send several requests"
            )
        self._batcher.require_room(len(texts))  # every text has a token at least: refused before any work
        tokenised = await asyncio.get_running_loop().run_in_executor(
            self._tokeniser_threads, self._tokeniser.tokenise, texts
        )
        embeddings = await self._batcher.encode(tokenised.token_ids)
        return Encoded(embeddings, [len(ids) for ids in tokenised.token_ids], tokenised.truncated)
