"""The readers of texts that a front-end has: one for each model that it was asked for."""

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from encoder_service.text_reader import TextReader, prompts_of
from encoder_service.tokeniser import Tokeniser
from kosearch.model_directory import ModelDirectory
from protos.kosearch.v1 import tokens_pb2, tokens_pb2_grpc


@dataclass(frozen=True, slots=True)
class ReaderOfModel:
    """A reader, and the fingerprint of the model that it reads for."""

    reader: TextReader
    fingerprint: str


class Readers:
    """Readers by the name of the model, the default's under the empty one. For the event loop."""

    def __init__(
        self, engine: "tokens_pb2_grpc.TokensAsyncStub", threads: Executor, max_texts: int, max_text_bytes: int
    ) -> None:
        """Make an empty store; `engine` tells where models are."""
        self._engine = engine
        self._threads = threads
        self._max_texts = max_texts
        self._max_text_bytes = max_text_bytes
        self._found: dict[str, ReaderOfModel] = {}
        self._looking = asyncio.Lock()

    async def get(self, model: str, metadata: tuple[tuple[str, str], ...]) -> ReaderOfModel:
        """The reader of a model. Raises ModelError, and AioRpcError as the process with the engine tells it."""
        found = self._found.get(model)
        if found is not None:
            return found
        async with self._looking:
            if model not in self._found:
                told = await self._engine.Tokeniser(tokens_pb2.TokeniserRequest(model=model), metadata=metadata)
                self._found[model] = await asyncio.to_thread(self._load, told)
            return self._found[model]

    def forget(self, model: str, outdated: ReaderOfModel) -> None:
        """Ask again for the reader of a model, unless somebody did so already."""
        if self._found.get(model) is outdated:
            del self._found[model]

    def _load(self, told: tokens_pb2.TokeniserResponse) -> ReaderOfModel:
        directory = ModelDirectory.open(Path(told.path))
        tokeniser = Tokeniser.load(directory, self._max_text_bytes)
        reader = TextReader(tokeniser, self._threads, self._max_texts, prompts_of(directory))
        return ReaderOfModel(reader, told.model_fingerprint)
