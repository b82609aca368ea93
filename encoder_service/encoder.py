"""The use case Encode: texts in, embeddings out."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from opentelemetry.trace import Tracer

from encoder_service.batcher import Batcher
from encoder_service.embedding_types import leading
from encoder_service.engines.engine import Embeddings, TokenEmbeddings
from encoder_service.scheduling import Priority
from encoder_service.text_reader import Role, TextReader
from encoder_service.token_forecast import TokenForecast
from encoder_service.tokeniser import LongText, TokenisedTexts


@dataclass(frozen=True, slots=True)
class Options:
    """How texts are to be encoded.

    dimensions: leading numbers of each embedding to return; 0 returns all
    client: whose call it is; clients take turns
    deadline_s: seconds until the caller gives up; None waits for ever
    """

    role: Role = Role.NONE
    priority: Priority = Priority.QUERY
    dimensions: int = 0
    long_text: LongText = LongText.TRUNCATE
    client: str = ""
    deadline_s: float | None = None


DEFAULT_OPTIONS = Options()


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of a call: texts to token ids, in the queue, in the engine."""

    tokenise_s: float
    queue_s: float
    encode_s: float


@dataclass(frozen=True, slots=True)
class Encoded:
    """Embeddings of shape (texts, dim), unit rows, and for each text its tokens and whether its tail was left out."""

    embeddings: Embeddings
    token_counts: list[int]
    truncated: list[bool]
    timing: Timing


class Encoder:
    """Tokenises in threads of its own, then waits for the batches."""

    def __init__(self, reader: TextReader, batcher: Batcher, by_token: Batcher, tracer: Tracer | None = None) -> None:
        """Make an encoder.

        batcher, by_token: what waits for an embedding a text, and for one a token
        tracer: makes spans of the parts of a call
        """
        self._reader = reader
        self._batcher = batcher
        self._by_token = by_token
        self._tracer = tracer
        self._forecast = TokenForecast(reader.max_tokens)
        self._calls = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    async def encode(self, texts: Sequence[str], options: Options = DEFAULT_OPTIONS) -> Encoded:
        """Encode texts in the order given.

        Raises InvalidRequestError on no text, too many, an empty or too long one; OverloadedError when the queue is
        full or the deadline too near; UnavailableError when the service stops.
        """
        with self._counted():
            self._reader.check_count(texts)
            # Under overload most calls are refused, and tokenising them would take the cores from the others.
            lengths = list(map(len, texts))
            self._batcher.require_room(self._forecast.tokens(lengths), options.priority, options.deadline_s)
            started = time.perf_counter()
            characters = sum(lengths)
            tokenised = await self._reader.read(texts, characters, options.role, options.long_text)
            self._forecast.learn(characters, sum(map(len, tokenised.token_ids)))
            tokenise_s = time.perf_counter() - started
            deadline_s = None if options.deadline_s is None else options.deadline_s - tokenise_s
            return await self._encode(tokenised, options, deadline_s, tokenise_s)

    async def encode_tokens(self, texts: Sequence[str], options: Options = DEFAULT_OPTIONS) -> list[TokenEmbeddings]:
        """Encode each token of texts: unit rows of shape (tokens, dim) per text, special tokens included.

        What is longer than the model reads is cut. Raises as `encode`.
        """
        with self._counted():
            self._reader.check_count(texts)
            tokenised = await self._reader.read(texts, sum(map(len, texts)), options.role, LongText.TRUNCATE)
            encoding = await self._by_token.encode(
                tokenised.token_ids, options.priority, options.client, options.deadline_s
            )
        return list(encoding.answers)

    async def encode_tokenised(self, tokenised: TokenisedTexts, options: Options, tokenise_s: float) -> Encoded:
        """Encode texts that somebody has tokenised for this model, else as `encode`.

        tokenise_s: seconds that it took; they are over, so that the deadline of `options` counts from now
        """
        with self._counted():
            return await self._encode(tokenised, options, options.deadline_s, tokenise_s)

    async def until_idle(self) -> None:
        """Wait until every call is answered."""
        await self._is_idle.wait()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._calls += 1
        self._is_idle.clear()
        try:
            yield
        finally:
            self._calls -= 1
            if not self._calls:
                self._is_idle.set()

    async def _encode(
        self, tokenised: TokenisedTexts, options: Options, deadline_s: float | None, tokenise_s: float
    ) -> Encoded:
        started_ns = time.time_ns() - int(tokenise_s * 1e9)
        encoding = await self._batcher.encode(tokenised.token_ids, options.priority, options.client, deadline_s)
        embeddings = leading(_of_texts(encoding.answers, tokenised), options.dimensions)
        timing = Timing(tokenise_s, encoding.queue_s, encoding.encode_s)
        if self._tracer is not None:
            _add_spans(self._tracer, started_ns, timing)
        return Encoded(embeddings, tokenised.token_counts, tokenised.truncated, timing)


def _add_spans(tracer: Tracer, started_ns: int, timing: Timing) -> None:
    """Add what has been measured to the span of the call, one part after the other."""
    for name, seconds in (("tokenise", timing.tokenise_s), ("queue", timing.queue_s), ("encode", timing.encode_s)):
        ended_ns = started_ns + int(seconds * 1e9)
        tracer.start_span(name, start_time=started_ns).end(ended_ns)
        started_ns = ended_ns


def _of_texts(chunks: NDArray[np.float32], tokenised: TokenisedTexts) -> NDArray[np.float32]:
    """Means of the chunks of each text by tokens, unit rows: (chunks, dim) to (texts, dim)."""
    if len(chunks) == len(tokenised.chunk_counts):
        return chunks
    first = np.cumsum([0, *tokenised.chunk_counts[:-1]])  # (texts,)
    weights = np.array([len(ids) for ids in tokenised.token_ids], np.float32)  # (chunks,)
    sums = np.add.reduceat(chunks * weights[:, None], first, axis=0)  # (texts, dim)
    unit: NDArray[np.float32] = sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(min=1e-12)
    return unit
