"""Prepared decoders against the same layers one by one in float64."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from cpu_kernels.batches import Shape, exact_heads, random_cache, random_metadata
from cpu_kernels.comparing import assert_near, assert_same_bits
from cpu_kernels.decoders import PLAIN, Family, random_decoder
from cpu_kernels.weights import KINDS, UNKNOWN, Kind, exact_linear
from octavo.kernels import reference
from octavo.kernels.cpu.decoder import decoder
from octavo.kernels.ops import AttentionMetadata
from octavo.kernels.weights import DecoderLayerWeights, DecoderWeights
from torch import Tensor

pytestmark = pytest.mark.usefixtures("level")


ODD = Family(
    Shape(6, 2, 40, 5), 72, 104, (("float32", "bfloat16"),) * 3, "gelu_pytorch_tanh", 5.0, (0, 9),
    extra_norms=True, bias=True, rotary=20,
)  # fmt: skip


class ExactDecoder:
    """Layer by layer in float64; only activations that quantised weights meet are rounded."""

    def __init__(self, weights: DecoderWeights) -> None:
        self._weights = weights

    def __call__(
        self,
        x: Tensor,
        rotary: list[tuple[Tensor, Tensor]],
        caches: list[tuple[Tensor, Tensor]],
        metadata: AttentionMetadata,
    ) -> Tensor:
        """Writes to the caches."""
        x = x.double()
        for layer, cache in zip(self._weights.layers, caches, strict=True):
            branch = self._attend(x, layer, rotary[layer.rope], cache, metadata)
            x = x + self._norm(branch, layer.attention_norm)
            x = x + self._norm(self._feed_forward(x, layer), layer.mlp_norm)
        return self._norm(x, self._weights.final_norm)

    def _attend(
        self,
        x: Tensor,
        layer: DecoderLayerWeights,
        rotary: tuple[Tensor, Tensor],
        cache: tuple[Tensor, Tensor],
        metadata: AttentionMetadata,
    ) -> Tensor:
        x = self._norm(x, layer.input_norm)
        query, key, value = (
            exact_linear(x, part).unflatten(1, (-1, self._weights.head_dim))
            for part in (layer.query, layer.key, layer.value)
        )
        query, key = self._norm(query, layer.query_norm), self._norm(key, layer.key_norm)
        cos, sin = (table.double() for table in rotary)
        query, key = (reference.rotary_embedding(part, cos, sin) for part in (query, key))
        reference.write_kv(key, value, *cache, metadata.slot_mapping)
        keys, values = (exact_heads(part, self._weights.head_dim) for part in cache)
        attended = reference.paged_attention(
            query, keys, values, metadata, self._weights.scale, layer.window, self._weights.softcap
        )
        return exact_linear(attended.flatten(1), layer.output)

    def _feed_forward(self, x: Tensor, layer: DecoderLayerWeights) -> Tensor:
        x = self._norm(x, layer.mlp_input_norm)
        silu = self._weights.activation == "silu"
        gated = reference.silu_and_mul if silu else reference.gelu_tanh_and_mul
        return exact_linear(
            gated(exact_linear(x, layer.gate), exact_linear(x, layer.up)), layer.down
        )

    def _norm(self, x: Tensor, weight: Tensor | None) -> Tensor:
        if weight is None:
            return x
        mean = x.square().mean(-1, keepdim=True)
        return x / (mean + self._weights.norm_eps).sqrt() * weight.double()


def check(family: Family, dtype: torch.dtype, cache_dtype: torch.dtype, error: float) -> None:
    """Some steps of one decoder, of different sizes."""
    weights = random_decoder(family, dtype)
    actual, exact = decoder(weights), ExactDecoder(weights)
    assert actual is not None
    for sequences in ([(20, 9), (66, 1)], [(150, 1)], [(0, 40), (3, 1), (70, 2)]):
        metadata, blocks = random_metadata(
            sequences, family.shape.block_size, bidirectional=random.random() < 0.3
        )
        caches = [random_cache(metadata, blocks, family.shape, cache_dtype) for _ in family.kinds]
        expected_caches = [(keys.clone(), values.clone()) for keys, values in caches]
        tokens = len(metadata.slot_mapping)
        embeds = torch.randn(tokens, family.hidden).to(dtype)
        rotary = [random_rotary(tokens, family.rotary or family.shape.dim) for _ in range(2)]
        wanted = torch.randperm(tokens)[: random.randint(1, tokens)].sort().values
        some = replace(metadata, output_rows=wanted if random.random() < 0.5 else None)
        output = actual(embeds, rotary, caches, some)
        assert output.dtype == dtype
        expected = exact(embeds, rotary, expected_caches, metadata)
        rows = slice(None) if some.output_rows is None else wanted
        assert_near(output[rows], expected[rows], error)
        for pair in zip(caches, expected_caches, strict=True):
            for cache, expected in zip(*pair, strict=True):
                compare_caches(cache, expected, metadata.slot_mapping, error, family.shape.dim)


def random_rotary(tokens: int, width: int) -> tuple[Tensor, Tensor]:
    angles = torch.randn(tokens, width // 2).repeat(1, 2)
    return angles.cos(), angles.sin()


def compare_caches(actual: Tensor, expected: Tensor, slots: Tensor, error: float, dim: int) -> None:
    """The step's slots hold what they should; no other changed."""
    actual, expected = actual.flatten(0, 1), expected.flatten(0, 1)
    held, wanted = exact_heads(actual[slots], dim), exact_heads(expected[slots], dim)
    assert_near(held, wanted, max(error, 3e-3))
    actual[slots] = expected[slots]
    assert_same_bits(actual, expected)


@pytest.mark.parametrize("family", [PLAIN, ODD], ids=["plain", "odd"])
def test_float32(family: Family) -> None:
    check(family, torch.float32, torch.float32, 2e-5)
    check(family, torch.float32, torch.bfloat16, 1e-2)


@pytest.mark.parametrize("family", [PLAIN, ODD], ids=["plain", "odd"])
def test_bfloat16(family: Family) -> None:
    check(family, torch.bfloat16, torch.bfloat16, 2e-2)


@pytest.mark.parametrize("family", [PLAIN, ODD], ids=["plain", "odd"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_quantized_caches(family: Family, dtype: torch.dtype) -> None:
    # A value that lies halfway between two codes may be rounded to either: a step is 1/127 of the
    # largest of its head, or 1/8 of itself.
    error = 2e-2 if dtype is torch.bfloat16 else 5e-3
    check(family, dtype, torch.int8, error)
    check(family, dtype, torch.float8_e4m3fn, 2 * error)


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_quantized(kind: Kind) -> None:
    family = replace(PLAIN, kinds=((kind, kind),) * 2)
    # Now and then float32 rounds an activation halfway between two steps to the other one. A step
    # is 1/127 of the largest of 64 activations, of which an output sums a few dozen; many of those
    # that come after it are then rounded otherwise, too.
    check(family, torch.float32, torch.float32, 3e-2)
    check(family, torch.bfloat16, torch.bfloat16, 5e-2)


@pytest.mark.parametrize("first", KINDS)
def test_every_layer_may_be_stored_in_its_own_way(first: Kind) -> None:
    others = [(a, b) for a in KINDS for b in KINDS if a != b]
    family = replace(PLAIN, kinds=((first, first), *random.sample(others, 3)))
    check(family, torch.bfloat16, torch.float32, 5e-2)


def test_a_step_whose_output_nobody_wants_still_extends_the_cache() -> None:
    weights = random_decoder(PLAIN, torch.float32)
    actual, exact = decoder(weights), ExactDecoder(weights)
    assert actual is not None
    metadata, blocks = random_metadata([(20, 9), (66, 1)], 16)
    caches = [random_cache(metadata, blocks, PLAIN.shape, torch.float32) for _ in PLAIN.kinds]
    expected = [(keys.clone(), values.clone()) for keys, values in caches]
    embeds, rotary = torch.randn(10, PLAIN.hidden), [random_rotary(10, 16) for _ in range(2)]
    nothing = replace(metadata, output_rows=torch.empty(0, dtype=torch.int64))
    actual(embeds, rotary, caches, nothing)
    exact(embeds, rotary, expected, metadata)
    for pair in zip(caches, expected, strict=True):
        for cache, wanted in zip(*pair, strict=True):
            compare_caches(cache, wanted, metadata.slot_mapping, 2e-5, PLAIN.shape.dim)


def test_no_tokens() -> None:
    weights = random_decoder(PLAIN, torch.float32)
    prepared = decoder(weights)
    assert prepared is not None
    metadata, blocks = random_metadata([(0, 1)], 16)
    caches = [random_cache(metadata, blocks, PLAIN.shape, torch.float32) for _ in PLAIN.kinds]
    assert prepared(torch.empty(0, 64), [], caches, metadata).shape == (0, 64)


def test_what_the_kernels_do_not_know_is_left_alone() -> None:
    known = random_decoder(PLAIN, torch.float32)
    layers = iter(known.layers)
    changes = [{"activation": "relu9"}, {"dtype": torch.float16}]
    changes += [{"storages": [*known.storages, together]} for together in UNKNOWN]
    for change in changes:
        assert decoder(replace(known, layers=layers, **change)) is None
    assert len(list(layers)) == known.num_layers
