"""Health beyond an open port: now and then a golden text goes the way of a call, and must come back right."""

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import structlog

from encoder_service.encoder import Options
from encoder_service.model_registry import ModelRegistry
from encoder_service.scheduling import Priority
from kosearch.errors import OverloadedError

_log = structlog.get_logger()

PAUSE_S = 10.0
# A query waits for one batch at most; who waits longer has a service that does not answer.
_PATIENCE_S = 30.0
# The exact check was made when the model was loaded. This one finds weights gone bad and engines gone mad.
_MIN_COSINE = 0.99


class Canary:
    """Encodes a golden text of the default model every few seconds and tells whether the service is well."""

    def __init__(
        self,
        models: ModelRegistry,
        tell: Callable[[bool], Awaitable[None]],
        pause_s: float = PAUSE_S,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        """Make a canary; `tell` hears of every change, and at first that the service is well."""
        self._models = models
        self._tell = tell
        self._pause_s = pause_s
        self._patience_s = patience_s

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        was_well = True
        while True:
            await asyncio.sleep(self._pause_s)
            complaint = await self._complaint()
            is_well = complaint is None
            if is_well != was_well:
                await self._tell(is_well)
                report = _log.info if is_well else _log.error
                report("canary.well" if is_well else "canary.ill", complaint=complaint)
            was_well = is_well

    async def _complaint(self) -> str | None:
        """What is wrong; None when all is well, or when the service is too busy to say."""
        served = self._models.get()
        text, golden = served.golden_texts[0], served.golden[0]
        try:
            async with asyncio.timeout(self._patience_s):
                encoded = await served.encoder.encode([text], Options(priority=Priority.QUERY, client="canary"))
        except OverloadedError:
            return None
        except TimeoutError:
            return f"no answer within {self._patience_s:.0f} s"
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        cosine = float(encoded.embeddings[0] @ golden) / float(np.linalg.norm(golden))
        return None if cosine >= _MIN_COSINE else f"a golden text has cosine {cosine:.3f} to its embedding"
