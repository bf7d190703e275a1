"""Two, four or eight bits with scales and zeros of groups, as AutoGPTQ and GPTQModel write them."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from ....core.contracts.specs import JsonDict
from ....core.layers.quantized_linear import QuantizedLinear
from ....core.layers.stored.grouped_weight import grouped_weight
from ....core.layers.stored.packed_words import unpack_words
from ....core.layers.stored.reordered_linear import in_order_of_groups
from ....core.layers.stored.stored_linear import StoredLinear, check_groups, check_settings

#: By the name of the layout, how far below the real ones zeros are stored.
_ZEROS_BELOW = {"gptq": 1, "gptq_v2": 0}
#: Values of settings that are followed, the default first.
_FOLLOWED: dict[str, tuple[object, ...]] = {
    "bits": (4, 2, 8),
    **dict.fromkeys(("checkpoint_format", "format"), tuple(_ZEROS_BELOW)),
    "method": ("gptq",),
    **dict.fromkeys(("lm_head", "is_marlin_format"), (False,)),
    "pack_dtype": ("int32",),
    "dynamic": (None, {}),
}
_HARMLESS = (
    *("group_size", "modules_in_block_to_quantize"),
    # What the tensors show.
    *("desc_act", "sym", "static_groups", "act_group_aware", "true_sequential"),
    # How it was made, and which kernels a library was to use.
    *("meta", "damp_percent", "damp_auto_increment", "mse", "dataset", "tokenizer", "batch_size"),
    *("model_name_or_path", "model_file_base_name", "model_seqlen", "block_name_to_quantize"),
    *("module_name_preceding_first_block", "pad_token_id", "cache_block_outputs"),
    *("backend", "use_exllama", "disable_exllama", "exllama_config", "max_input_length"),
    "use_cuda_fp16",
)


class GptqMethod:
    """See `plugin.interfaces.FinishingQuantMethod`."""

    def __init__(self, settings: JsonDict) -> None:
        """Raises ValueError for what isn't followed."""
        check_settings(settings, _FOLLOWED, _HARMLESS)
        self._bits = int(settings.get("bits", 4))
        layout = settings.get("checkpoint_format") or settings.get("format") or "gptq"
        self._below = _ZEROS_BELOW[layout.lower()]
        self._group_size = int(settings.get("group_size", 128))
        inside = settings.get("modules_in_block_to_quantize") or ()
        self._only = tuple(part for parts in inside for part in parts)

    def reserve(self, name: str, layer: nn.Linear) -> nn.Module | None:
        """`qweight` [in · bits / 32, out], the group of each input `g_idx` [in], and for each group
        `qzeros` [out · bits / 32] and `scales` [out]."""
        if self._only and not name.endswith(self._only):
            return None
        inputs, outputs, per_word = layer.in_features, layer.out_features, 32 // self._bits
        group_size = inputs if self._group_size == -1 else self._group_size
        check_groups(inputs, group_size)
        if inputs % per_word or outputs % per_word:
            raise ValueError(
                f"{inputs} inputs and {outputs} outputs are not whole words of 32 bits"
            )
        groups = inputs // group_size
        return StoredLinear(
            layer,
            {
                "qweight": ((inputs // per_word, outputs), torch.int32),
                "qzeros": ((groups, outputs // per_word), torch.int32),
                "scales": ((groups, outputs), torch.float16),
                "g_idx": ((inputs,), torch.int32),
            },
        )

    def finish(self, name: str, module: nn.Module) -> nn.Module:
        """The same weight as groups of inputs that lie together. Raises ValueError for groups of
        different sizes."""
        stored = cast(StoredLinear, module)
        qweight, qzeros, scales, groups = (
            stored.get_buffer(part) for part in ("qweight", "qzeros", "scales", "g_idx")
        )
        steps = unpack_words(qweight.T, self._bits)
        # Modulo, as it is stored: a zero of 2^bits is the same as 0 in the first layout.
        zeros = (unpack_words(qzeros, self._bits).to(torch.int16) + self._below) % (1 << self._bits)
        return in_order_of_groups(
            groups,
            len(scales),
            lambda order: QuantizedLinear(
                grouped_weight(steps[:, order], scales.T, zeros.T, self._bits), stored.bias
            ),
        )
