"""Which arithmetic a machine is good at."""

from __future__ import annotations

import torch


def has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 products run in hardware there; where they are emulated they are slower than float32."""
    match device.type:
        case "cuda":
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
        case "cpu":
            return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
        case _:
            return False
