"""What several groups of commands share: options, and how JSON is printed."""

import sys
from pathlib import Path
from typing import Annotated

import orjson
import typer

DataDir = Annotated[
    Path | None, typer.Option(help="스택의 데이터 폴더 / data directory of the stack (default: KOSEARCH_DATA_DIR)")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON으로 출력 / print JSON")]


def print_json(value: object) -> None:
    """Print a value as a line of JSON; what is not a number is null."""
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_SERIALIZE_DATACLASS | orjson.OPT_APPEND_NEWLINE
    sys.stdout.buffer.write(orjson.dumps(value, option=options))
    sys.stdout.buffer.flush()
