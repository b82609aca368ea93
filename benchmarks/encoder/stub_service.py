"""The encoder service with an engine that does nothing, for load.py: what is left is what a call costs."""

import asyncio
import os
from collections.abc import Sequence

import numpy as np

from encoder_service.engines.engine import Embeddings, TokenIds
from encoder_service.event_loop import run
from encoder_service.model_registry import LoadedModel
from encoder_service.server import running_server
from encoder_service.tokeniser import Tokeniser
from kosearch.logs import configure_logs
from kosearch.model_directory import ModelDirectory
from kosearch.settings import load_settings

_A_DAY_S = 86_400.0


class _Idle:
    """An `Engine` of ready answers."""

    def __init__(self, dim: int) -> None:
        self._dim = dim

    def encode(self, token_ids: Sequence[TokenIds]) -> Embeddings:
        return np.full((len(token_ids), self._dim), self._dim**-0.5, np.float32)


async def main() -> None:
    """Serve until killed. The canary, to which these answers are wrong, stays away."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # as the service itself
    settings = load_settings()
    configure_logs("encoder_service", settings.log.level, settings.log.format)
    directory = ModelDirectory.open(settings.encoder.model)
    tokeniser = Tokeniser.load(directory, settings.encoder.max_text_bytes)
    model = LoadedModel(directory, tokeniser, [_Idle(directory.dim)])
    async with running_server(settings, model, canary_pause_s=_A_DAY_S):
        await asyncio.Event().wait()


if __name__ == "__main__":
    run(main())
