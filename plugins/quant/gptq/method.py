"""Two, four or eight bits with scales and zeros of groups, as AutoGPTQ and GPTQModel write them."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ....core.contracts.specs import JsonDict
from ....core.layers.quantized_linear import QuantizedLinear
from ....core.layers.stored.grouped_weight import grouped_weight
from ....core.layers.stored.packed_words import unpack_words
from ....core.layers.stored.reordered_linear import ReorderedLinear
from ....core.layers.stored.stored_linear import StoredLinear, check_groups, check_settings

_WIDTHS = (2, 4, 8)
#: By the name of the layout, how far below the real ones zeros are stored.
_ZEROS_BELOW = {"gptq": 1, "gptq_v2": 0}
_KNOWN = (
    *("bits", "group_size", "checkpoint_format", "modules_in_block_to_quantize", "desc_act", "sym"),
    # How it was made, which the tensors show; which kernels a library was to use.
    *("damp_percent", "damp_auto_increment", "static_groups", "true_sequential", "mse", "meta"),
    *("dataset", "tokenizer", "model_name_or_path", "model_file_base_name", "batch_size", "v2"),
    *(
        "act_group_aware",
        "block_name_to_quantize",
        "module_name_preceding_first_block",
        "model_seqlen",
    ),
    *(
        "backend",
        "exllama_config",
        "use_exllama",
        "use_cuda_fp16",
        "disable_exllama",
        "max_input_length",
    ),
    *("cache_block_outputs", "pad_token_id", "is_marlin_format"),
)
#: Settings that must be as here, if they are there.
_ONLY = {"lm_head": False, "pack_dtype": "int32", "dynamic": None, "is_marlin_format": False}


class GptqMethod:
    """See `plugin.interfaces.StoredQuantMethod`. It quantises nothing itself."""

    def __init__(self, settings: JsonDict) -> None:
        """Raises ValueError for what isn't followed."""
        if not settings:
            raise ValueError("gptq: it reads checkpoints that are quantised already")
        check_settings(settings, (*_KNOWN, *_ONLY))
        for name, wanted in _ONLY.items():
            if settings.get(name, wanted) not in (wanted, {}):
                raise ValueError(f"gptq: {name} {settings[name]!r} is not supported")
        bits, layout = settings.get("bits"), settings.get("checkpoint_format", "gptq")
        if bits not in _WIDTHS:
            raise ValueError(f"gptq: {bits} bits are not supported, but 2, 4 and 8")
        self._bits: int = bits
        if layout not in _ZEROS_BELOW:
            known = ", ".join(_ZEROS_BELOW)
            raise ValueError(f"gptq: checkpoint_format {layout!r} is not supported, but {known}")
        self._below = _ZEROS_BELOW[layout]
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
        order = groups.argsort(stable=True)
        if not torch.equal(groups[order].long(), _in_order(len(groups), len(scales))):
            raise ValueError(f"g_idx doesn't put the inputs into {len(scales)} groups of one size")
        weight = grouped_weight(steps[:, order], scales.T, zeros.T, self._bits)
        layer = QuantizedLinear(weight, stored.bias)
        in_order = torch.equal(order, torch.arange(len(order)))
        return layer if in_order else ReorderedLinear(layer, order)

    def quantize(self, name: str, layer: nn.Linear) -> nn.Module | None:
        """None: what the checkpoint stores plain stays so."""
        return None


def _in_order(inputs: int, groups: int) -> Tensor:
    return torch.arange(groups).repeat_interleave(inputs // groups)
