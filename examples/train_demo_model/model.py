"""The model's shape: a small SigLIP tower, LLaVA's projector and a small Llama."""

import shutil

from torch import Tensor, nn
from transformers import (
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    SiglipVisionConfig,
    SiglipVisionModel,
)

IMAGE_SIZE = 96
PATCH_SIZE = 12
GRID = IMAGE_SIZE // PATCH_SIZE
IMAGE_TOKENS = GRID**2


def vision_config() -> SiglipVisionConfig:
    """The tower's shape."""
    return SiglipVisionConfig(
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=8,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        vision_use_head=False,
    )


def text_config(vocab_size: int, bos: int, eos: int, pad: int) -> LlamaConfig:
    """The language model's shape."""
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=2048,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=bos,
        eos_token_id=eos,
        pad_token_id=pad,
    )


def build_model(
    vocab_size: int, image: int, bos: int, eos: int, pad: int
) -> LlavaForConditionalGeneration:
    """A LLaVA with random weights."""
    config = LlavaConfig(
        vision_config=vision_config(),
        text_config=text_config(vocab_size, bos, eos, pad),
        image_token_index=image,
        image_seq_length=IMAGE_TOKENS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        projector_hidden_act="gelu",
        tie_word_embeddings=True,
        bos_token_id=bos,
        eos_token_id=eos,
        pad_token_id=pad,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config.do_sample = False
    model.generation_config.bos_token_id = bos
    model.generation_config.eos_token_id = eos
    model.generation_config.pad_token_id = pad
    return model


def compile_layers(layers: nn.ModuleList, dynamic: bool) -> None:
    """Fuses what is between the matrix products, where there is a compiler."""
    if shutil.which("g++"):
        for layer in layers:
            layer.compile(dynamic=dynamic)


def patch_features(tower: SiglipVisionModel, pixels: Tensor) -> Tensor:
    """The tower's last layer before its final norm: what LLaVA's feature layer -1 takes."""
    return tower.encoder(inputs_embeds=tower.embeddings(pixels)).last_hidden_state


class NamingHead(nn.Module):
    """A classifier with attention pooling that teaches the tower names; thrown away later."""

    def __init__(self, width: int, labels: int, heads: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.scores = nn.Linear(width, heads)
        self.out = nn.Linear(width * heads, labels)

    def forward(self, features: Tensor, region: Tensor) -> Tensor:
        """Logits for the part of each picture where `region` is true."""
        features = self.norm(features)
        scores = self.scores(features).masked_fill(~region[:, :, None], -1e9).softmax(1)
        return self.out((scores.transpose(1, 2) @ features).flatten(1))
