"""The kernels of ours, where they can be had: half precision on a GPU, with Triton and a C compiler."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog
import torch
from torch import Tensor

from encoder_service.engines.torch_bert import Kernels, LayerNorm, Linear

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class FusedKernels:
    """Kernels of a layer.

    attend_in_short_texts: from queries, keys and values, each (tokens, heads, head_dim), and position ids (tokens,) to
        mixed values; right for texts of any length, and fast for those that a few of fit into a block
    """

    layer: Kernels
    attend_in_short_texts: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def load_fused_kernels(device: torch.device) -> FusedKernels | None:
    """Load and try the kernels on a GPU; None, and a line in the log, where they do not run: all works without them."""
    try:
        # Here, because Triton comes with torch's builds for CUDA only.
        from encoder_service.engines.triton_kernels import add_layer_norm, attend_within_texts  # noqa: PLC0415

        fused = FusedKernels(
            Kernels(
                add_norm=lambda hidden, residual, norm: add_layer_norm(
                    hidden, residual, norm.gain, norm.bias, norm.eps
                ),
                widen=_widen,
            ),
            attend_within_texts,
        )
        _try(fused, device)
    except Exception as error:  # of the import, the C compiler, the driver, Triton's own compiler
        _log.warning(
            "kernels.not_fused",
            device=str(device),
            why=f"{type(error).__name__}: {error}",
            advice="the service works without them, more slowly; they need Triton, and a C compiler such as gcc",
        )
        return None
    return fused


def _try(fused: FusedKernels, device: torch.device) -> None:
    rows = torch.ones((4, 32), dtype=torch.float16, device=device)
    ones = rows[0]
    fused.layer.add_norm(rows, rows, LayerNorm(ones, ones, 1e-12))
    fused.layer.widen(rows, Linear(rows, ones[:4]))
    heads = rows.view(4, 2, 16)
    fused.attend_in_short_texts(heads, heads, heads, torch.zeros(4, dtype=torch.int32, device=device))
    torch.cuda.synchronize(device)


def _widen(hidden: Tensor, linear: Linear) -> Tensor:
    # Product, bias and GELU in one kernel of cuBLASLt. Its GELU is the one by tanh, which is off by 5e-4 at most: less
    # than half precision itself. torch's own fast path for transformers does the same.
    return torch._addmm_activation(linear.bias, hidden, linear.weight.t(), use_gelu=True)
