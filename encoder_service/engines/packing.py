"""Packs texts into rows: which row, and where in it. Pure functions.

Texts are laid one after the other, none is split, so that nearly every token computed is a real one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoder_service.engines.engine import TokenIds
from kosearch.row_packing import Packing, pack

# Attention costs the square of a row, and below about 128 tokens the matrix products lose efficiency. Measured with
# OpenVINO on 4 layers of 384 (2 cores, AVX-512 bf16): 53,500 tokens/s in rows of 128, 49,500 in rows of 256.
_FULL_ROWS = (128, 256, 512)
# A lone text, or a few short ones, get one row, cut to a multiple of this: 32 tokens take a third of the time of 128.
# Finer where queries are: half of those that are typed have at most 16 tokens, which take 0.7 of the time of 32.
_SHORT_ROW_STEP = 32
_QUERY_ROW, _QUERY_ROW_STEP = 64, 8
# Of so few tokens a gap in rows of 128 is a good part: 256 tokens of sentences need three rows. Rows between these
# lengths, at the same speed, leave less of it.
_FEW_TOKENS = 1280
_FITTED_ROWS, _FITTED_ROW_STEP = (80, 192), 16
# Texts longer than a row of 128 leave much room in rows that the longest of them needs: they are computed in parts of
# about one length. Of so many tokens a part is hardly slower than a whole batch.
_PART_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class PackedRows:
    """The inputs of the graph, int32 of shape (row_count, row_tokens), and where each text begins and ends.

    offsets: of each text's first token in the flattened rows, shape (texts,)
    lengths: tokens of each text, shape (texts,)
    """

    token_ids: NDArray[np.int32]
    position_ids: NDArray[np.int32]
    segment_ids: NDArray[np.int32]
    offsets: NDArray[np.intp]
    lengths: NDArray[np.intp]


# Computes the hidden states, float32 of shape (row_count, row_tokens, dim), good until the next call.
Run = Callable[[PackedRows], NDArray[np.float32]]


def split_by_length(lengths: Sequence[int]) -> list[list[int]]:
    """Which texts to compute together: all, or with long ones among them parts of about one length, shortest first."""
    if max(lengths) <= _FULL_ROWS[0]:
        return [list(range(len(lengths)))]
    parts: list[list[int]] = [[]]
    tokens = 0
    for text in sorted(range(len(lengths)), key=lambda text: lengths[text]):
        if tokens >= _PART_TOKENS:
            parts.append([])
            tokens = 0
        parts[-1].append(text)
        tokens += lengths[text]
    return parts


def choose_packing(lengths: Sequence[int]) -> Packing:
    """Pack texts into rows that leave little room: one row made to measure for little work, else several."""
    total, longest = sum(lengths), max(lengths)
    if total <= _FULL_ROWS[0] or len(lengths) == 1:
        return pack(lengths, _round_up(total, _QUERY_ROW_STEP if total <= _QUERY_ROW else _SHORT_ROW_STEP))
    rows = [next((row for row in _FULL_ROWS if row >= longest), _round_up(longest, _SHORT_ROW_STEP))]
    if longest > _FULL_ROWS[0]:
        rows.append(_round_up(longest, _FITTED_ROW_STEP))
    if total <= _FEW_TOKENS:
        rows += _fitted_rows(total, longest)
    return min((pack(lengths, row) for row in rows), key=lambda packing: packing.row_count * packing.row_tokens)


def _fitted_rows(total: int, longest: int) -> Iterator[int]:
    """Row lengths into which texts of that many tokens may fit with little room left."""
    shortest, widest = _FITTED_ROWS
    for row_count in range(max(1, total // widest), total // shortest + 1):
        row = _round_up(-(-total // row_count), _FITTED_ROW_STEP)
        for candidate in (row, row + _FITTED_ROW_STEP):
            if max(shortest, longest) <= candidate <= widest:
                yield candidate


def lay_out(token_ids: Sequence[TokenIds], packing: Packing) -> PackedRows:
    """Write the tokens into their places. Gaps get token 0, position 0 and segment 0; the texts are segments from 1."""
    lengths = np.fromiter(map(len, token_ids), np.intp, len(token_ids))
    offsets = np.asarray(packing.rows, np.intp) * packing.row_tokens + np.asarray(packing.starts, np.intp)
    first = np.cumsum(lengths) - lengths  # of each text in the texts laid end to end
    positions = np.arange(lengths.sum()) - np.repeat(first, lengths)
    places = np.repeat(offsets, lengths) + positions
    return PackedRows(
        token_ids=_scatter(np.concatenate(token_ids), places, packing),
        position_ids=_scatter(positions, places, packing),
        segment_ids=_scatter(np.repeat(np.arange(1, len(lengths) + 1), lengths), places, packing),
        offsets=offsets,
        lengths=lengths,
    )


def _scatter(values: NDArray[np.generic], places: NDArray[np.intp], packing: Packing) -> NDArray[np.int32]:
    rows = np.zeros(packing.row_count * packing.row_tokens, np.int32)
    rows[places] = values
    return rows.reshape(packing.row_count, packing.row_tokens)


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step
