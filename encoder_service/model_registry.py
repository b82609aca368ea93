"""The models that a service has: which one answers, how another is put in its place without a failed call."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray
from opentelemetry.trace import Tracer

from encoder_service.batcher import Batch, Batcher
from encoder_service.embedding_types import int8_scale
from encoder_service.encoder import Encoder
from encoder_service.engine_thread import EngineThread
from encoder_service.engines.engine import ByToken, Engine
from encoder_service.metrics import Metrics
from encoder_service.scheduling import Priority
from encoder_service.text_reader import TextReader, prompts_of
from encoder_service.tokeniser import Tokeniser
from kosearch.errors import ConflictError, NotFoundError
from kosearch.model_directory import ModelDirectory

# Who reranks has thousands of tokens at once; other queries get their turn in between.
_BATCH_TOKENS_BY_TOKEN = 1024

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that has passed the check of its golden embeddings, on no thread yet. `engines`: one for each device."""

    directory: ModelDirectory
    tokeniser: Tokeniser
    engines: Sequence[Engine]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that answers.

    batchers: what waits for an embedding a text, and for one a token
    golden: the embeddings of its golden texts, shape (texts, dim)
    """

    directory: ModelDirectory
    encoder: Encoder
    batchers: tuple[Batcher, Batcher]
    golden_texts: list[str]
    golden: NDArray[np.float32]
    _int8_scales: dict[int, float] = field(default_factory=dict)

    def int8_scale(self, dimensions: int) -> float:
        """The step between two int8 numbers of so many dimensions; 0 is all."""
        if dimensions not in self._int8_scales:
            self._int8_scales[dimensions] = int8_scale(self.golden, dimensions)
        return self._int8_scales[dimensions]


class ModelRegistry:
    """Models by name on the engine threads of all devices; one of them is the default. For the event loop only."""

    def __init__(
        self,
        threads: Sequence[EngineThread],
        work: threading.Condition,
        tokeniser_threads: Executor,
        load: Callable[[Path], LoadedModel],
        max_batch_tokens: int,
        max_queued_tokens: int,
        bulk_batch_s: float,
        max_texts: int,
        metrics: Metrics,
        tracer: Tracer | None,
    ) -> None:
        """Make an empty registry; `load` opens and checks a model directory and may block for long.

        threads: one for each device; all of them serve every model
        """
        self._threads = threads
        self._work = work
        self._tokeniser_threads = tokeniser_threads
        self._load = load
        self._max_batch_tokens = max_batch_tokens
        self._max_queued_tokens = max_queued_tokens
        self._bulk_batch_s = bulk_batch_s
        self._max_texts = max_texts
        self._metrics = metrics
        self._tracer = tracer
        self._served: dict[str, ServedModel] = {}
        self._default = ""
        self._changing = asyncio.Lock()

    def names(self) -> list[str]:
        """All names, the default first."""
        return sorted(self._served, key=lambda name: (name != self._default, name))

    def get(self, name: str = "") -> ServedModel:
        """The model of that name; the default for an empty one. Raises NotFoundError."""
        served = self._served.get(name or self._default)
        if served is None:
            raise NotFoundError(f"this service has no model {name!r}; it has {', '.join(self.names())}")
        return served

    def encoder_of(self, fingerprint: str) -> Encoder | None:
        """The encoder of the model with this fingerprint, if there is one."""
        return next(
            (served.encoder for served in self._served.values() if served.directory.fingerprint == fingerprint), None
        )

    def add(self, loaded: LoadedModel) -> ServedModel:
        """Let a loaded model answer under its name; the first becomes the default. Raises ConflictError."""
        directory = loaded.directory
        if directory.name in self._served:
            raise ConflictError(f"the service has a model {directory.name!r} already; unload it first")
        limits = self._max_queued_tokens, self._bulk_batch_s
        batcher = Batcher(directory.dim, self._max_batch_tokens, *limits, self._work)
        few_tokens = min(self._max_batch_tokens, _BATCH_TOKENS_BY_TOKEN)
        by_token = Batcher(None, few_tokens, *limits, self._work)
        reader = TextReader(loaded.tokeniser, self._tokeniser_threads, self._max_texts, prompts_of(directory))
        encoder = Encoder(reader, batcher, by_token, self._tracer)
        served = ServedModel(directory, encoder, (batcher, by_token), *directory.golden())
        report = partial(_report, self._metrics, directory.name)
        for thread, engine in zip(self._threads, loaded.engines, strict=True):
            thread.add(batcher, engine, report, replicas=len(self._threads))
            thread.add(by_token, ByToken(engine), report, replicas=len(self._threads))
        for priority in Priority:
            tokens = partial(_queued_tokens, served.batchers, priority)
            self._metrics.watch_queue(directory.name, priority.name.lower(), tokens)
        self._served[directory.name] = served
        self._default = self._default or directory.name
        return served

    async def load(self, path: Path) -> ServedModel:
        """Load a model directory beside the others. Raises ModelError when it fails its check, ConflictError."""
        async with self._changing:
            loaded = await asyncio.to_thread(self._load, path)
            served = self.add(loaded)
        _log.info("model.added", model=served.directory.name, fingerprint=served.directory.fingerprint[:12])
        return served

    def switch(self, name: str) -> None:
        """Make a model the default: calls that name none go to it from now on. Raises NotFoundError."""
        self._default = self.get(name).directory.name
        _log.info("model.switched", model=self._default)

    async def unload(self, name: str) -> None:
        """Take a model away when its calls are answered. Raises NotFoundError, ConflictError for the default."""
        async with self._changing:
            served = self.get(name)
            if served.directory.name == self._default:
                raise ConflictError(f"{self._default!r} is the default; switch to another model first")
            del self._served[served.directory.name]
            await served.encoder.until_idle()
            for thread in self._threads:
                for batcher in served.batchers:
                    await asyncio.to_thread(thread.remove, batcher)
            self._metrics.forget_model(served.directory.name)
        _log.info("model.unloaded", model=name)

    def stop(self) -> None:
        """Refuse all that waits."""
        for served in self._served.values():
            for batcher in served.batchers:
                batcher.stop()


def _queued_tokens(batchers: Sequence[Batcher], priority: Priority) -> int:
    return sum(batcher.queued_tokens_of(priority) for batcher in batchers)


def _report(metrics: Metrics, model: str, batch: Batch, elapsed_s: float, has_failed: bool) -> None:
    """Count a batch. In an engine's thread."""
    if has_failed:
        metrics.failed_batches.labels(model).inc()
        return
    metrics.batch_seconds.labels(model).observe(elapsed_s)
    metrics.batch_tokens.labels(model).observe(sum(part.tokens for part in batch))
    for part in batch:
        priority = part.call.priority.name.lower()
        metrics.texts.labels(model, priority).inc(part.stop - part.start)
        metrics.tokens.labels(model, priority).inc(part.tokens)
        if part.start == 0 and part.call.started is not None:
            metrics.queue_seconds.labels(model, priority).observe(part.call.started - part.call.arrived)
