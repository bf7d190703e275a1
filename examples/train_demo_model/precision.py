"""bfloat16 matrix products, where the processor has instructions for them."""

import torch

FAST_BFLOAT16 = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def autocast() -> torch.autocast:
    """A context in which matrix products run in bfloat16 if that is faster."""
    return torch.autocast("cpu", torch.bfloat16, enabled=FAST_BFLOAT16)
