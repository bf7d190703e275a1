"""Four bits with scales and zeros of groups, in the layout that AutoAWQ calls "gemm"."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ....core.contracts.specs import JsonDict
from ....core.layers.quantized_linear import QuantizedLinear
from ....core.layers.stored.grouped_weight import grouped_weight
from ....core.layers.stored.packed_words import unpack_words
from ....core.layers.stored.stored_linear import StoredLinear, check_groups, check_settings

#: Where each of eight outputs lies in a word.
_PLACES = (0, 4, 1, 5, 2, 6, 3, 7)
_BITS, _PER_WORD = 4, 8
#: Values of settings that are followed, the default first.
_FOLLOWED: dict[str, tuple[object, ...]] = {
    "bits": (_BITS,),
    **dict.fromkeys(("version", "format", "checkpoint_format"), ("gemm",)),
    "zero_point": (True,),
    **dict.fromkeys(("sym", "desc_act", "lm_head"), (False,)),
    "method": ("awq",),
    "pack_dtype": ("int32",),
    "dynamic": (None, {}),
}
_HARMLESS = (
    *("group_size", "modules_to_not_convert"),
    # How it was made, and which kernels a library was to use.
    *("meta", "backend", "do_fuse", "exllama_config", "fuse_max_seq_len", "modules_to_fuse"),
)


class AwqMethod:
    """See `plugin.interfaces.FinishingQuantMethod`."""

    def __init__(self, settings: JsonDict) -> None:
        """Raises ValueError for what isn't followed."""
        check_settings(settings, _FOLLOWED, _HARMLESS)
        self._group_size = int(settings.get("group_size", 128))
        self._skipped = tuple(settings.get("modules_to_not_convert") or ())

    def reserve(self, name: str, layer: nn.Linear) -> nn.Module | None:
        """`qweight` [in, out / 8], and for each group `qzeros` [out / 8] and `scales` [out]."""
        if any(part in name for part in self._skipped):
            return None
        inputs, outputs = layer.in_features, layer.out_features
        group_size = inputs if self._group_size == -1 else self._group_size
        check_groups(inputs, group_size)
        if outputs % _PER_WORD:
            raise ValueError(f"{outputs} outputs are not whole words of {_PER_WORD}")
        groups, words = inputs // group_size, outputs // _PER_WORD
        return StoredLinear(
            layer,
            {
                "qweight": ((inputs, words), torch.int32),
                "qzeros": ((groups, words), torch.int32),
                "scales": ((groups, outputs), torch.float16),
            },
        )

    def finish(self, name: str, module: nn.Module) -> nn.Module:
        """The same weight as groups of inputs."""
        stored = cast(StoredLinear, module)
        qweight, qzeros, scales = (
            stored.get_buffer(part) for part in ("qweight", "qzeros", "scales")
        )
        weight = grouped_weight(_steps(qweight).T, scales.T, _steps(qzeros).T, _BITS)
        return QuantizedLinear(weight, stored.bias)


def _steps(words: Tensor) -> Tensor:
    """int32 [rows, out / 8] -> uint8 [rows, out]."""
    steps = unpack_words(words, _BITS)
    return steps.view(len(steps), -1, _PER_WORD)[..., _PLACES].flatten(1)
