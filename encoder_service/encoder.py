"""The use case Encode: texts in, embeddings out."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from opentelemetry.trace import Tracer

from encoder_service.batcher import Batcher
from encoder_service.embedding_types import leading
from encoder_service.engines.engine import Embeddings
from encoder_service.scheduling import Priority
from encoder_service.token_forecast import TokenForecast
from encoder_service.tokeniser import LongText, TokenisedTexts, Tokeniser
from kosearch.errors import InvalidRequestError

# Texts of so few characters are tokenised in the event loop: it takes 0.1 ms, and another thread costs more than that.
_FEW_CHARACTERS = 200


class Role(Enum):
    """What a text is; its value is the name of the prompt that some models want before it."""

    NONE = ""
    QUERY = "query"
    DOCUMENT = "document"


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

    def __init__(
        self,
        tokeniser: Tokeniser,
        tokeniser_threads: Executor,
        batcher: Batcher,
        max_texts: int,
        prompts: Mapping[Role, str] | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        """Make an encoder; `prompts` go before the texts of a role, `tracer` makes spans of the parts of a call."""
        self._tokeniser = tokeniser
        self._tokeniser_threads = tokeniser_threads
        self._batcher = batcher
        self._max_texts = max_texts
        self._prompts = prompts or {}
        self._tracer = tracer
        self._forecast = TokenForecast(tokeniser.max_tokens)
        self._calls = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    async def encode(self, texts: Sequence[str], options: Options = DEFAULT_OPTIONS) -> Encoded:
        """Encode texts in the order given.

        Raises InvalidRequestError on no text, too many, an empty or too long one, dimensions that the model lacks;
        OverloadedError when the queue is full or the deadline too near; UnavailableError when the service stops.
        """
        self._calls += 1
        self._is_idle.clear()
        try:
            return await self._encode(texts, options)
        finally:
            self._calls -= 1
            if not self._calls:
                self._is_idle.set()

    async def until_idle(self) -> None:
        """Wait until every call is answered."""
        await self._is_idle.wait()

    async def _encode(self, texts: Sequence[str], options: Options) -> Encoded:
        if not texts:
            raise InvalidRequestError("the request has no text; send at least one")
        if len(texts) > self._max_texts:
            raise InvalidRequestError(
                f"the request has {len(texts):,} texts, {self._max_texts:,} are accepted; send several requests"
            )
        # Under overload most calls are refused, and tokenising them would take the cores from the others.
        lengths = list(map(len, texts))
        self._batcher.require_room(self._forecast.tokens(lengths), options.priority, options.deadline_s)
        started, started_ns = time.perf_counter(), time.time_ns()
        characters = sum(lengths)
        tokenised = await self._tokenise(texts, characters, self._prompts.get(options.role, ""), options.long_text)
        tokenise_s = time.perf_counter() - started
        self._forecast.learn(characters, sum(map(len, tokenised.token_ids)))
        deadline_s = None if options.deadline_s is None else options.deadline_s - tokenise_s
        encoding = await self._batcher.encode(tokenised.token_ids, options.priority, options.client, deadline_s)
        embeddings = leading(_of_texts(encoding.embeddings, tokenised), options.dimensions)
        timing = Timing(tokenise_s, encoding.queue_s, encoding.encode_s)
        if self._tracer is not None:
            _add_spans(self._tracer, started_ns, timing)
        return Encoded(embeddings, tokenised.token_counts, tokenised.truncated, timing)

    async def _tokenise(
        self, texts: Sequence[str], characters: int, prompt: str, long_text: LongText
    ) -> TokenisedTexts:
        """Tokenise in another thread, or here and now when that costs less than to hand the texts over."""
        if characters <= _FEW_CHARACTERS:
            return self._tokeniser.tokenise(texts, prompt, long_text)
        return await asyncio.get_running_loop().run_in_executor(
            self._tokeniser_threads, self._tokeniser.tokenise, texts, prompt, long_text
        )


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
