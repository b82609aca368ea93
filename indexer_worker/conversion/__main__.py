"""`python -m indexer_worker.conversion FILE`: one line of JSON, with the document's text or with why there is none."""

import resource
import sys
from pathlib import Path

import orjson

from indexer_worker.conversion.failure import ConversionError, Reason

_MAX_MEMORY_BYTES = 1 << 30
_MAX_CPU_S = 60


def main() -> None:
    """Convert, within limits of memory and time."""
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_MAX_CPU_S, _MAX_CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # a parser has nothing to write
    path = Path(sys.argv[1])
    try:
        answer = {"text": _text(path)}
    except ConversionError as error:
        answer = {"reason": error.reason.value, "detail": str(error)}
    except MemoryError:
        answer = {
            "reason": Reason.TOO_LARGE.value,
            "detail": f"{path.name} needs more than {_MAX_MEMORY_BYTES:,} bytes",
        }
    sys.stdout.buffer.write(orjson.dumps(answer))


def _text(path: Path) -> str:
    # Here, after the limits, since these are foreign code.
    from indexer_worker.conversion.hwp import hwp_to_markdown  # noqa: PLC0415
    from indexer_worker.conversion.markdown import plain_text  # noqa: PLC0415

    text = plain_text(hwp_to_markdown(path))
    if not text.strip():
        raise ConversionError(Reason.NO_TEXT, f"{path.name} holds no text; pictures are not read")
    return text


if __name__ == "__main__":
    main()
