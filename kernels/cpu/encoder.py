"""The layers of a vision transformer in one call: see src/encoder.cpp."""

from __future__ import annotations

import ctypes
import weakref

import torch
from torch import Tensor

from ..weights import EncoderWeights, PreparedEncoder
from .activations import ACTIVATIONS
from .library import EncoderLayerStruct, EncoderStepStruct, EncoderStruct, load_library
from .packing import PackedWeight, pack

_library = load_library()


def encoder(weights: EncoderWeights) -> PreparedEncoder | None:
    """See `kernels.weights.PrepareEncoder`."""
    if weights.activation not in ACTIVATIONS or weights.hidden_size % weights.num_heads:
        return None
    return CpuEncoder(weights)


class CpuEncoder:
    """See `kernels.weights.PreparedEncoder`. Hidden states are float32 within; weights are read as
    they are stored."""

    def __init__(self, weights: EncoderWeights) -> None:
        self._packed: list[PackedWeight] = []
        self._norms: list[Tensor] = []
        layers = (EncoderLayerStruct * weights.num_layers)()
        for struct, layer in zip(layers, weights.layers, strict=True):
            for name, parts in (
                ("qkv", (layer.query, layer.key, layer.value)),
                ("output", (layer.output,)),
                ("up", (layer.up,)),
                ("down", (layer.down,)),
            ):
                self._packed.append(pack(parts, weights.dtype))
                setattr(struct, name, self._packed[-1].struct)
            for name in ("attention_norm", "mlp_norm"):
                weight, bias = getattr(layer, name)
                setattr(struct, name, self._keep_norm(weight))
                setattr(struct, f"{name}_bias", self._keep_norm(bias))
        plan = EncoderStruct(
            layers=weights.num_layers,
            hidden=weights.hidden_size,
            heads=weights.num_heads,
            intermediate=weights.intermediate_size,
            activation=ACTIVATIONS[weights.activation],
            eps=weights.norm_eps,
            layer=layers,
        )
        self._handle = _library.octavo_encoder_create(ctypes.byref(plan))
        weakref.finalize(self, _library.octavo_encoder_free, self._handle)

    def tensors(self) -> list[Tensor]:
        """All that holds its weights."""
        return [*self._norms, *(t for packed in self._packed for t in packed.tensors())]

    def __call__(self, x: Tensor, first: int, last: int) -> Tensor:
        """See `kernels.weights.PreparedEncoder`."""
        x = x.contiguous()
        output = torch.empty_like(x)
        if not x.numel():
            return output
        step = EncoderStepStruct(
            input=x.data_ptr(),
            output=output.data_ptr(),
            images=x.shape[0],
            tokens=x.shape[1],
            first_layer=first,
            last_layer=last,
            narrow=int(x.dtype is torch.bfloat16),
            threads=torch.get_num_threads(),
        )
        _library.octavo_encoder_run(self._handle, ctypes.byref(step))
        return output

    def _keep_norm(self, norm: Tensor) -> int:
        self._norms.append(norm.detach().float().contiguous().clone())
        return self._norms[-1].data_ptr()
