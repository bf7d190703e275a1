"""Pictures as EfficientNet-Lite takes them: a square of bytes, centred on 127 and halved."""

from octavo.plugin.images import PatchPreprocessor, PreprocessConfig

_STRIDE = 32


class LitePreprocessor(PatchPreprocessor):
    def __init__(self, vision_config, processor_config):
        side = vision_config["image_size"]
        defaults = {
            "size": {"height": side, "width": side},
            "resample": 3,
            "rescale_factor": 1 / 128,
            "image_mean": (127 / 128,) * 3,
            "image_std": (1.0,) * 3,
        }
        super().__init__(PreprocessConfig.from_dict(processor_config, defaults), _STRIDE)
