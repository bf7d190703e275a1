"""EfficientNet-Lite0 (Tan and Le, 2019, arXiv:1905.11946): a picture to a map of 1280 channels."""

import torch
from torch import nn
from torch.nn.functional import pad

#: Repeats, kernel, stride, expansion, channels out, of each stage.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class SameConv(nn.Conv2d):
    """Padded as TensorFlow does: the odd pixel goes to the right and the bottom."""

    def __init__(self, channels_in, channels_out, kernel, stride=1, groups=1):
        super().__init__(channels_in, channels_out, kernel, stride, groups=groups, bias=False)

    def forward(self, x):
        kernel, stride = self.kernel_size[0], self.stride[0]
        margins = []
        for length in (x.shape[3], x.shape[2]):
            missing = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            margins += [missing // 2, missing - missing // 2]
        return super().forward(pad(x, margins))


def norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """Widen, filter each channel, narrow; add the input where the shape stays."""

    def __init__(self, channels_in, kernel, stride, expansion, channels_out):
        super().__init__()
        wide = channels_in * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = SameConv(channels_in, wide, 1), norm(wide)
        self._depthwise_conv, self._bn1 = SameConv(wide, wide, kernel, stride, wide), norm(wide)
        self._project_conv, self._bn2 = SameConv(wide, channels_out, 1), norm(channels_out)
        self._widens, self._adds = expansion > 1, stride == 1 and channels_in == channels_out

    def forward(self, x):
        wide = self._bn0(self._expand_conv(x)).clamp(0, 6) if self._widens else x
        narrow = self._bn2(self._project_conv(self._bn1(self._depthwise_conv(wide)).clamp(0, 6)))
        return x + narrow if self._adds else narrow


class EfficientNetLite0(nn.Module):
    hidden_size = 1280

    def __init__(self, config, feature_layers, build):
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, 32, 3, stride=2), norm(32)
        blocks, channels = [], 32
        for repeats, kernel, stride, expansion, channels_out in _STAGES:
            for i in range(repeats):
                step = stride if i == 0 else 1
                blocks.append(Block(channels, kernel, step, expansion, channels_out))
                channels = channels_out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = SameConv(channels, self.hidden_size, 1), norm(self.hidden_size)

    def map_weight(self, name):
        return None if name.startswith("_fc.") else name

    def forward(self, images, layouts=()):
        x = self._bn0(self._conv_stem(torch.stack(images))).clamp(0, 6)
        for block in self._blocks:
            x = block(x)
        maps = self._bn1(self._conv_head(x)).clamp(0, 6)
        return list(maps.flatten(2).transpose(1, 2))
