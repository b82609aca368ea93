"""`python -m indexer_worker.conversion FILE`: one line of JSON, with the document's text or with why there is none."""

import resource
import sys
from dataclasses import asdict
from pathlib import Path

import orjson

from indexer_worker.conversion.failure import ConversionError, Reason
from indexer_worker.conversion.formats import convert

_MAX_MEMORY_BYTES = 1 << 30
_MAX_CPU_S = 60


def main() -> None:
    """Convert, within limits of memory and time."""
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_MAX_CPU_S, _MAX_CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # a parser has nothing to write
    sys.stdout.buffer.write(orjson.dumps(_answer(Path(sys.argv[1]))))


def _answer(path: Path) -> dict[str, str]:
    try:
        return asdict(convert(path))
    except ConversionError as error:
        return {"reason": error.reason.value, "detail": str(error)}
    except (MemoryError, RecursionError) as error:
        detail = f"{path.name} is too large or nested too deep to read ({type(error).__name__})"
        return {"reason": Reason.TOO_LARGE.value, "detail": detail}


if __name__ == "__main__":
    main()
