"""Attention between the tokens of each text, for texts that lie end to end."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn

_MAX_HEAD_DIM = 256
_HEAD_DIM_STEP = 8

# From queries, keys and values, each (tokens, heads, head_dim), to the mixed values in the same shape.
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def has_varlen_attention(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """Whether FlashAttention-2 computes it: half precision, a GPU of compute capability 8.0 (Ampere) or later."""
    return (
        device.type == "cuda"
        and dtype in {torch.float16, torch.bfloat16}
        and torch.cuda.get_device_capability(device) >= (8, 0)
        and head_dim % _HEAD_DIM_STEP == 0
        and head_dim <= _MAX_HEAD_DIM
    )


def varlen_attention(bounds: Tensor, longest: int) -> Attend:
    """Attention that reads where texts begin and end, int32 (texts + 1,), on the device alone.

    Nothing of a text's length is known on the host but that it is at most `longest`; texts may be empty. So a CUDA
    graph can hold it. Source: FlashAttention-2, Dao 2023, arXiv:2307.08691, `cu_seqlens`.
    """

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        mixed = varlen_attn(query, key, value, bounds, bounds, longest, longest)
        assert isinstance(mixed, Tensor)  # a second value comes only for those who ask for it
        return mixed

    return attend


@dataclass(frozen=True, slots=True)
class _LengthGroup:
    """Texts of about one length, padded to the longest of them.

    source: the token at each place of the padded rows, (texts, longest); at padding the text's last token
    is_token: which places are no padding, (texts, 1, 1, longest)
    places: those places in the flattened rows, (tokens of the group,)
    tokens: the token of each of them, (tokens of the group,)
    """

    source: Tensor
    is_token: Tensor
    places: Tensor
    tokens: Tensor


class GroupedAttention:
    """Attention for devices and number formats without `varlen_attention`: padded, in groups of similar length.

    A text is padded to twice its length at most, and only here: the products outside stay without padding.
    """

    def __init__(self, bounds: NDArray[np.int32], device: torch.device) -> None:
        """Prepare the groups of a batch; `bounds`, (texts + 1,): where its texts begin and end."""
        self._groups = list(_length_groups(bounds.astype(np.int64), device))

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Compute the attention, as any `Attend`."""
        mixed = torch.empty_like(query)
        for group in self._groups:
            # (texts, heads, longest, head_dim)
            queries, keys, values = (part[group.source].transpose(1, 2) for part in (query, key, value))
            rows = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=group.is_token)
            mixed[group.tokens] = rows.transpose(1, 2).flatten(0, 1)[group.places]
        return mixed


def _length_groups(bounds: NDArray[np.int64], device: torch.device) -> Iterator[_LengthGroup]:
    lengths = np.diff(bounds)
    doublings = np.ceil(np.log2(np.maximum(lengths, 1))).astype(int)
    for doubling in np.unique(doublings[lengths > 0]):
        members = np.flatnonzero((doublings == doubling) & (lengths > 0))
        last = lengths[members, None] - 1  # (texts, 1)
        offsets = np.arange(last.max() + 1)  # (longest,)
        source = bounds[members, None] + np.minimum(offsets, last)
        is_token = offsets <= last
        yield _LengthGroup(
            source=torch.from_numpy(source).to(device),
            is_token=torch.from_numpy(is_token[:, None, None]).to(device),
            places=torch.from_numpy(np.flatnonzero(is_token)).to(device),
            tokens=torch.from_numpy(source[is_token]).to(device),
        )
