"""The morphological analyser: one for a process, for it takes over a second and 300 MiB to load."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kiwipiepy import Kiwi


@cache
def shared_kiwi() -> "Kiwi":
    """Return the process's Kiwi, loaded at the first call."""
    from kiwipiepy import Kiwi  # noqa: PLC0415 - it brings a model along, and most processes never need it

    return Kiwi(num_workers=1)
