"""Kernels of ours for what torch leaves unfused: attention between short texts, and LayerNorm of a sum.

Triton comes with torch's builds for CUDA and needs a C compiler at run time: whoever uses this has a way without.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

# The fastest of 32, 64 and 128 tokens with 2 to 8 warps on an H100, head sizes 32 and 64.
_BLOCK = 64
_ATTENTION_WARPS = 4
_NORM_WARPS = 2
_LEAST_BLOCK_OF_A_PRODUCT = 16
_LOG2_E = 1.4426950408889634


def attend_within_texts(query: Tensor, key: Tensor, value: Tensor, position_ids: Tensor) -> Tensor:
    """Attention between the tokens of each text; all of shape (tokens, heads, head_dim), of one memory layout.

    position_ids: int32 (tokens,), they restart with each text, from which a token knows where its text begins
    A block of queries reads the keys from where its first text begins to where its last one ends, so that the blocks
    of short texts cost what their tokens cost. Any stream, any graph: nothing depends on the host.
    Source: the online softmax of FlashAttention-2, Dao 2023, arXiv:2307.08691.
    """
    tokens, heads, head_dim = query.shape
    assert query.stride() == key.stride() == value.stride()
    assert query.stride(1) == head_dim
    mixed = torch.empty((tokens, heads, head_dim), dtype=query.dtype, device=query.device)
    _attend_within_texts[(triton.cdiv(tokens, _BLOCK), heads)](
        query,
        key,
        value,
        position_ids,
        mixed,
        tokens,
        query.stride(0),
        heads * head_dim,
        head_dim**-0.5 * _LOG2_E,
        head_dim=head_dim,
        dim_block=max(triton.next_power_of_2(head_dim), _LEAST_BLOCK_OF_A_PRODUCT),
        block=_BLOCK,
        num_warps=_ATTENTION_WARPS,
    )
    return mixed


def add_layer_norm(hidden: Tensor, residual: Tensor, gain: Tensor, bias: Tensor, eps: float) -> Tensor:
    """LayerNorm of the sum of two contiguous (tokens, dim); the sum is kept in float32."""
    tokens, dim = hidden.shape
    normed = torch.empty_like(hidden)
    _add_layer_norm[(tokens,)](
        hidden, residual, gain, bias, normed, dim, eps, block=triton.next_power_of_2(dim), num_warps=_NORM_WARPS
    )
    return normed


@triton.jit
def _attend_within_texts(
    query,
    key,
    value,
    position_ids,
    mixed,
    tokens,
    token_stride,
    mixed_stride,
    scale,
    head_dim: tl.constexpr,
    dim_block: tl.constexpr,
    block: tl.constexpr,
):
    first = tl.program_id(0) * block
    rows = first + tl.arange(0, block)
    is_row = rows < tokens
    columns = tl.program_id(1) * head_dim + tl.arange(0, dim_block)
    is_column = tl.arange(0, dim_block) < head_dim
    at = rows[:, None].to(tl.int64) * token_stride + columns[None, :]
    queries = tl.load(query + at, mask=is_row[:, None] & is_column[None, :], other=0.0)
    text_of_row = rows - tl.load(position_ids + rows, mask=is_row, other=0)  # a text is known by its first token
    last = tl.minimum(first + block, tokens) - 1
    last_text = last - tl.load(position_ids + last)

    greatest = tl.full((block,), float("-inf"), tl.float32)
    total = tl.zeros((block,), tl.float32)
    sums = tl.zeros((block, dim_block), tl.float32)
    start = first - tl.load(position_ids + first)
    text = start
    while text <= last_text:
        others = start + tl.arange(0, block)
        is_other = others < tokens
        at = others[:, None].to(tl.int64) * token_stride + columns[None, :]
        is_there = is_other[:, None] & is_column[None, :]
        keys = tl.load(key + at, mask=is_there, other=0.0)
        values = tl.load(value + at, mask=is_there, other=0.0)
        text_of_other = others - tl.load(position_ids + others, mask=is_other, other=0)
        scores = tl.dot(queries, tl.trans(keys)) * scale  # (rows, others)
        scores = tl.where((text_of_row[:, None] == text_of_other[None, :]) & is_other[None, :], scores, float("-inf"))
        now = tl.maximum(greatest, tl.max(scores, 1))
        finite = tl.where(now == float("-inf"), 0.0, now)  # of a row whose text begins later
        shares = tl.exp2(scores - finite[:, None])
        kept = tl.exp2(greatest - finite)
        total = total * kept + tl.sum(shares, 1)
        sums = sums * kept[:, None] + tl.dot(shares.to(values.dtype), values)
        greatest = now
        start += block
        text = start - tl.load(position_ids + start, mask=start < tokens, other=-(1 << 30))
    tl.store(
        mixed + rows[:, None].to(tl.int64) * mixed_stride + columns[None, :],
        (sums / total[:, None]).to(queries.dtype),
        mask=is_row[:, None] & is_column[None, :],
    )


@triton.jit
def _add_layer_norm(hidden, residual, gain, bias, normed, dim, eps, block: tl.constexpr):
    columns = tl.arange(0, block)
    is_column = columns < dim
    at = tl.program_id(0).to(tl.int64) * dim + columns
    added = tl.load(hidden + at, mask=is_column, other=0.0).to(tl.float32)
    added += tl.load(residual + at, mask=is_column, other=0.0).to(tl.float32)
    centred = tl.where(is_column, added - tl.sum(added, 0) / dim, 0.0)
    scaled = centred * tl.rsqrt(tl.sum(centred * centred, 0) / dim + eps)
    gains = tl.load(gain + columns, mask=is_column, other=0.0).to(tl.float32)
    biases = tl.load(bias + columns, mask=is_column, other=0.0).to(tl.float32)
    tl.store(normed + at, (scaled * gains + biases).to(normed.dtype.element_ty), mask=is_column)
