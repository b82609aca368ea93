"""How much of the exact search an index finds; the benchmarks' own helper."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

# Cosines of one text differ by less from way to way.
_EQUAL = 1e-5


def found_share(found: Iterable[NDArray[np.float32]], truth: Iterable[NDArray[np.float32]]) -> float:
    """Return the share of hits that are as near as the last one should be: of equal texts any may be found.

    Both have for each query the falling scores of its hits; queries that should have none do not count.
    """
    shares = [
        np.sum(ours >= theirs[-1] - _EQUAL) / len(theirs)
        for ours, theirs in zip(found, truth, strict=True)
        if len(theirs)
    ]
    return round(float(np.mean(shares)), 4)
