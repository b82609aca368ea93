"""Start the store: `python -m standalone.store --data-dir D [--host H] [--port P] [--port-file F]`.

The API key comes from KOSEARCH_QDRANT__API_KEY; without one only loopback may be bound.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from kosearch.errors import ConflictError, KosearchError
from kosearch.logs import configure_logs
from standalone.store.server import PortError, StoreOptions, serve

EXIT_FAILED = 1
EXIT_DIRECTORY_IN_USE = 3
EXIT_PORT_IN_USE = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the store until it is told to stop. Returns the exit code."""
    given = _parser().parse_args(arguments)
    configure_logs("store", given.log_level, given.log_format)
    options = StoreOptions(
        data_dir=given.data_dir.expanduser().resolve(),
        host=given.host,
        port=given.port,
        port_file=given.port_file,
        api_key=os.environ.get("KOSEARCH_QDRANT__API_KEY") or None,
        min_free_bytes=given.min_free_mib << 20,
    )
    try:
        asyncio.run(serve(options))
    except (KosearchError, OSError) as error:
        structlog.get_logger(__name__).error("store.failed", problem=str(error))
        return _exit_code(error)
    return 0


def _exit_code(error: Exception) -> int:
    if isinstance(error, ConflictError):
        return EXIT_DIRECTORY_IN_USE
    return EXIT_PORT_IN_USE if isinstance(error, PortError) else EXIT_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m standalone.store",
        description="Serve Qdrant Edge collections over the part of Qdrant's gRPC API that kosearch uses.",
        epilog=f"Exit codes: {EXIT_FAILED} failed, {EXIT_DIRECTORY_IN_USE} data directory in use, "
        f"{EXIT_PORT_IN_USE} port in use.",
    )
    parser.add_argument("--data-dir", type=Path, required=True, help="directory of the collections; made when missing")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: %(default)s)")
    parser.add_argument("--port", type=int, default=7411, help="gRPC port, 0 for a free one (default: %(default)s)")
    parser.add_argument("--port-file", type=Path, help="file to write the bound port to, once it serves")
    parser.add_argument(
        "--min-free-mib", type=int, default=256, help="refuse writes when the disk has less free (default: %(default)s)"
    )
    parser.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    parser.add_argument("--log-format", default="console", choices=["console", "json"])
    return parser


if __name__ == "__main__":
    sys.exit(main())
