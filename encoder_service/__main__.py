"""The encoder service: `python -m encoder_service [--data-dir D]`, or `--check MODEL` to compare a model and end."""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from encoder_service.event_loop import run
from encoder_service.model_loading import load_model
from encoder_service.server import check_address, serve_until_signal
from kosearch.errors import KosearchError
from kosearch.logs import configure_logs
from kosearch.settings import Settings, load_settings


def main() -> int:
    """Serve until stopped. Returns 0, or 2 when a setting or the model does not allow a start."""
    parser = argparse.ArgumentParser(prog="python -m encoder_service", description="Encodes and searches over gRPC.")
    parser.add_argument("--data-dir", type=Path, help="data directory of the stack (default: KOSEARCH_DATA_DIR)")
    parser.add_argument(
        "--check", type=Path, metavar="MODEL", help="compare this model with its golden embeddings, print JSON and end"
    )
    arguments = parser.parse_args()
    try:
        settings = load_settings(arguments.data_dir)
        if arguments.check is not None:
            # Here, because it brings the CPU engine's libraries along, which a service on a GPU has no use for.
            from encoder_service.model_check import check_model  # noqa: PLC0415

            check = check_model(arguments.check, settings.encoder.threads)
            sys.stdout.write(json.dumps(asdict(check)) + "\n")
            return 0
        configure_logs("encoder_service", settings.log.level, settings.log.format)
        _run(settings)
    except KosearchError as error:
        sys.stderr.write(f"encoder_service: {error}\n")
        return 2
    return 0


def _run(settings: Settings) -> None:
    # gRPC's core writes lines of its own to standard error, about what our errors say better.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # The tokeniser has threads of ours, a few or one per core; its own would come on top of them.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    chosen = settings.encoder
    check_address(chosen.address, chosen.api_key)
    model = load_model(chosen.model, chosen)
    run(serve_until_signal(settings, model))


if __name__ == "__main__":
    sys.exit(main())
