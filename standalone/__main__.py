"""The supervisor: `python -m standalone [--data-dir D]`; `kosearch up` starts it."""

import argparse
import asyncio
import sys
from pathlib import Path

from kosearch.errors import ConflictError, KosearchError, SettingsError
from kosearch.logs import configure_logs
from kosearch.settings import load_settings
from standalone.supervisor import supervise

_EXIT_FAILED = 1
_EXIT_BAD_SETTING = 2
_EXIT_IN_USE = 3


def main() -> int:
    """Run the stack until it is told to stop. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m standalone",
        description=__doc__,
        epilog=f"Exit codes: {_EXIT_FAILED} a process did not start, {_EXIT_BAD_SETTING} a bad setting, "
        f"{_EXIT_IN_USE} data directory or port in use.",
    )
    parser.add_argument("--data-dir", type=Path, help="data directory of the stack (default: KOSEARCH_DATA_DIR)")
    arguments = parser.parse_args()
    try:
        settings = load_settings(arguments.data_dir, joins_stack=False)
        configure_logs("supervisor", settings.log.level, settings.log.format)
        asyncio.run(supervise(settings))
    except KosearchError as error:
        sys.stderr.write(f"kosearch up: {error}\n")
        return _exit_code(error)
    return 0


def _exit_code(error: KosearchError) -> int:
    if isinstance(error, SettingsError):
        return _EXIT_BAD_SETTING
    return _EXIT_IN_USE if isinstance(error, ConflictError) else _EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
