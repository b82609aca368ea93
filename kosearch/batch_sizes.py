"""How much to send in one request: decided here, sent elsewhere."""

from collections.abc import Sequence

_LEAST_BYTES = 64 << 10


class BatchSizer:
    """A budget of items and bytes for one request, less after a request that took too long, more again by and by."""

    def __init__(self, max_items: int, max_bytes: int) -> None:
        """`max_items`, `max_bytes`: the budget to begin with, which is never exceeded but by a single item."""
        self._max_items = self._items = max_items
        self._max_bytes = self._bytes = max_bytes

    def take(self, sizes: Sequence[int], start: int) -> int:
        """Return how many of the items from `start` on go into the next request. `sizes`: of all items, in bytes."""
        taken = total_bytes = 0
        for size in sizes[start : start + self._items]:
            total_bytes += size
            if taken and total_bytes > self._bytes:
                break
            taken += 1
        return taken

    def shrink(self, items: int, size: int) -> None:
        """Allow half of a request that took too long. `items`, `size`: what it held, and of how many bytes."""
        self._items = max(1, items // 2)
        self._bytes = max(_LEAST_BYTES, size // 2)

    def grow(self) -> None:
        """Allow a quarter more after a request that was answered."""
        self._items = min(self._max_items, self._items + (self._items + 3) // 4)
        self._bytes = min(self._max_bytes, self._bytes + self._bytes // 4)
