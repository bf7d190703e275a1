"""Weights in 4 bits, a scale for each 32 of a row; two weights a byte."""

import torch
from torch import nn
from torch.nn.functional import linear

_GROUP = 32


class Int4Linear(nn.Module):
    def __init__(self, layer):
        super().__init__()
        groups = layer.weight.detach().float().unflatten(1, (-1, _GROUP))
        scale = groups.abs().amax(-1, keepdim=True).clamp(min=1e-30) / 7
        q = ((groups / scale).round() + 8).to(torch.uint8).flatten(1)
        self.register_buffer("packed", q[:, ::2] | q[:, 1::2] << 4)
        self.register_buffer("scale", scale.to(layer.weight.dtype))
        self.bias = layer.bias

    def forward(self, x):
        q = torch.stack((self.packed & 15, self.packed >> 4), dim=-1).flatten(1)
        groups = (q.to(x.dtype) - 8).unflatten(1, (-1, _GROUP))
        return linear(x, (groups * self.scale).flatten(1), self.bias)


class Int4Method:
    def __init__(self, settings):
        pass

    def quantize(self, name, layer):
        return None if layer.in_features % _GROUP else Int4Linear(layer)
