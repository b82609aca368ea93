"""`python -m encoder_service.front_end`: started by the encoder service, with its orders on standard input."""

import asyncio
import os
import sys

from encoder_service.event_loop import run
from encoder_service.front_end.orders import READY, Orders
from encoder_service.front_end.server import running_front_end
from kosearch.errors import KosearchError
from kosearch.graceful_stop import stop_event
from kosearch.logs import configure_logs


def main() -> int:
    """Serve until told to stop, or until the service that has started this process is gone. Returns 0, 2 on errors."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    orders = Orders.model_validate_json(sys.stdin.buffer.readline())
    configure_logs("front_end", orders.log_level, orders.log_format)  # type: ignore[arg-type]
    try:
        run(_serve(orders))
    except KosearchError as error:
        sys.stderr.write(f"front_end: {error}\n")
        return 2
    return 0


async def _serve(orders: Orders) -> None:
    stopping = stop_event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stopping.set)  # nothing more is written, but the end
    async with running_front_end(orders):
        sys.stdout.buffer.write(READY)
        sys.stdout.buffer.flush()
        await stopping.wait()
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())


if __name__ == "__main__":
    sys.exit(main())
