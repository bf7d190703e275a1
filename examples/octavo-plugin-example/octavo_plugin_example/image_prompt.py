"""One placeholder for each place of the feature map."""

from octavo.core.contracts import ImagePrompt


class LiteVlmImagePrompt(ImagePrompt):
    def __init__(self, config, preprocessor, encode):
        self.image_token_id = self.feature_token_id = config["image_token_id"]
        self._preprocessor = preprocessor

    def expand(self, size):
        return [self.feature_token_id] * self._preprocessor.num_tokens(size)
