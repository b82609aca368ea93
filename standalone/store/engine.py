"""What Edge's exceptions mean. Edge raises bare `Exception`s whose text is all there is to tell them apart."""

import errno
import re

from standalone.store.errors import InvalidArgumentError, MissingError, NoSpaceError, StoreError

_WRONG_INPUT = (
    "Vector dimension error",
    "Not existing vector name error",
    "No appropriate index for faceting",
    "Wrong input",
    "Bad request",
)
_NO_POINT = re.compile(r"No point with id (\S+)")
_JSON_PATH = re.compile(r"invalid JSON path (.*)", re.DOTALL)
_NO_SPACE = re.compile(r"No space left on device|os error 28\b")


def from_engine(error: BaseException) -> StoreError:
    """Return the error to answer with for one that Edge, or the disk under it, raised."""
    text = str(error)
    if path := _JSON_PATH.search(text):
        return InvalidArgumentError(f"Invalid json path: '{path.group(1)}'")
    if missing := _NO_POINT.search(text):
        return MissingError(f"Not found: No point with id {missing.group(1)} found")
    if text.startswith(_WRONG_INPUT):
        return InvalidArgumentError(f"Wrong input: {text.removeprefix('Wrong input: ')}")
    if _NO_SPACE.search(text) or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
        return NoSpaceError(f"no space left on the disk of the data directory ({text}); free some and try again")
    return StoreError(f"Service internal error: {type(error).__name__}: {text}")


def is_panic(error: BaseException) -> bool:
    """Tell a panic of the engine from an exit or interrupt: it is a BaseException too, and cannot be imported."""
    return type(error).__name__ == "PanicException"
