"""A feature map, projected, before any of the installed language models."""

from octavo.plugin.layers import VisionLanguageModel
from torch import nn


class LiteVlmForConditionalGeneration(VisionLanguageModel):
    def __init__(self, config, build):
        super().__init__(config, build, build.vision_encoder(config["vision_config"], ()))
        self.projector = nn.Linear(self.vision_tower.hidden_size, self.hidden_size)

    def encode_images(self, images, layouts):
        return [self.projector(features) for features in self.vision_tower(images, layouts)]
