"""Streams of requests that are answered in their order, a few at once."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar

Q = TypeVar("Q")
A = TypeVar("A")

# Requests of one stream that are on their way at once: enough to keep the engine busy, few enough to hold back a
# client that sends faster than the engine encodes.
_WINDOW = 8


async def answer_in_order(requests: AsyncIterator[Q], answer: Callable[[Q], Awaitable[A]]) -> AsyncGenerator[A]:
    """Yield the answer of each request. The first error ends the stream; what is on its way is cancelled at the end."""
    answers: asyncio.Queue[asyncio.Future[A] | None] = asyncio.Queue(_WINDOW)

    async def read() -> None:
        try:
            async for request in requests:
                answering = asyncio.ensure_future(answer(request))
                try:
                    await answers.put(answering)
                except asyncio.CancelledError:  # the client has left while there was no room
                    answering.cancel()
                    raise
        finally:  # also when a request cannot be read
            await answers.put(None)

    reading = asyncio.create_task(read())
    try:
        while (answering := await answers.get()) is not None:
            try:
                yield await answering
            finally:
                answering.cancel()
        await reading
    finally:
        reading.cancel()
        while not answers.empty():
            if (left := answers.get_nowait()) is not None:
                left.cancel()
