"""The tower's features by the package that its weights come from."""

from efficientnet_lite_pytorch import EfficientNet


def features(tower, pixel_values):
    side = pixel_values.shape[-1]
    other = EfficientNet.from_name("efficientnet-lite0", image_size=side).eval()
    other.load_state_dict({**other.state_dict(), **tower.state_dict()})
    return other.extract_features(pixel_values[None])[0].flatten(1).transpose(0, 1)
