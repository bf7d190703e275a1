"""`--method awq`: factors that are folded in change nothing, and then rounding changes less."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from octavo.app.quantize.forward_passes import ForwardPasses, run_block
from octavo.app.quantize.recipe import Recipe
from octavo.app.quantize.run import Job, quantize
from octavo.app.quantize.samples import read_samples
from octavo.app.quantize.scaling.folds import find_folds
from octavo.app.quantize.source_model import in_float32, load_source
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from octavo.core.quantization.rounding.awq import search_scaling
from octavo.core.quantization.rounding.grid import Grid, round_to_nearest
from safetensors.torch import load_file, save_file
from text_checkpoints import save_family, save_text_model

#: Of each group of layers that read one input the first, and what makes that input.
SEPARATE = {
    "self_attn.q_proj": ("input_layernorm", 0.0),
    "self_attn.o_proj": ("self_attn.v_proj", 0.0),
    "mlp.gate_proj": ("post_attention_layernorm", 0.0),
    "mlp.down_proj": ("mlp.up_proj", 0.0),
}
FUSED = {
    "self_attn.qkv_proj": ("input_layernorm", 0.0),
    "self_attn.o_proj": ("self_attn.qkv_proj", 0.0),
    "mlp.gate_up_proj": ("post_attention_layernorm", 0.0),
    "mlp.down_proj": ("mlp.gate_up_proj", 0.0),
}
OF_GEMMA = {**SEPARATE, "self_attn.q_proj": ("input_layernorm", 1.0)}
OF_GEMMA3 = {**OF_GEMMA, "mlp.gate_proj": ("pre_feedforward_layernorm", 1.0)}
FOUND = {
    "llama": SEPARATE,
    "llama-biased": SEPARATE,
    "qwen2": SEPARATE,
    "qwen3": SEPARATE,
    "gemma": {**OF_GEMMA, "mlp.gate_proj": ("post_attention_layernorm", 1.0)},
    "gemma2": OF_GEMMA3,
    "gemma3": OF_GEMMA3,
    "phi3": FUSED,
    # Its norms are of the outputs.
    "olmo2": {name: SEPARATE[name] for name in ("self_attn.o_proj", "mlp.down_proj")},
    # What lies between its last two layers is no function that factors pass through.
    "starcoder2": {
        "self_attn.q_proj": ("input_layernorm", 0.0),
        "self_attn.o_proj": ("self_attn.v_proj", 0.0),
        "mlp.c_fc": ("post_attention_layernorm", 0.0),
    },
    # Factors that are above 0 pass through a ReLU.
    "opt": {
        "self_attn.q_proj": ("self_attn_layer_norm", 0.0),
        "self_attn.out_proj": ("self_attn.v_proj", 0.0),
        "fc1": ("final_layer_norm", 0.0),
        "fc2": ("fc1", 0.0),
    },
}


@pytest.mark.parametrize("name", FOUND)
def test_factors_are_folded_in_where_that_changes_nothing(name: str, tmp_path: Path) -> None:
    """All at once, with norms rounded to bfloat16."""
    checkpoint = find_checkpoint(str(save_text_model(tmp_path / "model", name)))
    source = load_source(checkpoint)
    samples = read_samples(checkpoint, None, 1, 48, takes_images=False).inputs
    passes = ForwardPasses(source.model, source.blocks, samples)
    (call,), block = passes.first_calls(), source.blocks[0]
    with in_float32(block):
        folds = find_folds(block, source.linears(0), source.head_dim, call)
        assert {f.readers[0]: (f.producer, f.offset) for f in folds} == FOUND[name]
        before = run_block(block, call)
        weights = {k: p.data for k, p in block.named_parameters()}
        generator = torch.Generator().manual_seed(1)
        for fold in folds:
            factors = 0.1 + 4 * torch.rand(int(fold.rows.max()) + 1, generator=generator)
            fold.apply(block, factors[fold.rows], torch.bfloat16)
        after = run_block(block, call)
        norms = {fold.producer for fold in folds if weights[f"{fold.producer}.weight"].dim() == 1}
        for norm in norms:
            made = block.get_parameter(f"{norm}.weight").data
            assert torch.equal(made, made.bfloat16().float())
            assert not torch.equal(made, weights[f"{norm}.weight"])
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_of_layers_that_are_scaled_outputs_change_less(tmp_path: Path) -> None:
    """Where a few inputs are much larger than others, as norms make them in large models."""
    model = save_family(tmp_path / "model", "Llama", {"hidden_size": 128, "head_dim": 32})
    tensors = load_file(model / "model.safetensors")
    for name, tensor in tensors.items():
        if name.endswith("layernorm.weight"):
            tensor[::16] *= 20
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    errors = {}
    for method in ("awq", "clip"):
        recipe = Recipe("clip", (Grid(4, 64, False), Grid(8)), scales=method == "awq")
        job = Job(str(model), tmp_path / method, recipe, num_samples=4, sample_len=64)
        report = quantize(job, lambda line: None)
        errors[method] = {layer.name: layer.error for layer in report.layers[0]}
        if method == "awq":
            assert {row[-1] for row in report.rows()} > {"alpha"}
    for names in (("self_attn.q_proj", "self_attn.k_proj"), ("mlp.gate_proj", "mlp.up_proj")):
        scaled, plain = (sum(errors[method][name] for name in names) for method in errors)
        assert scaled < 0.8 * plain, names


def test_factors_are_those_of_the_paper() -> None:
    """Equations 4 and 5, with every sample's outputs; sizes are roots of mean squares."""
    generator = torch.Generator().manual_seed(0)
    inputs = (
        torch.randn(512, 128, generator=generator) * torch.randn(128, generator=generator).exp()
    )
    weights = [torch.randn(rows, 128, generator=generator) for rows in (32, 16)]
    grid = Grid(4, 64, False)
    sizes = inputs.square().mean(0).sqrt()
    losses = {}
    for alpha in (i / 20 for i in range(20)):
        factors = sizes**alpha
        factors /= (factors.max() * factors.min()).sqrt()
        losses[alpha] = sum(
            float(
                (
                    (inputs / factors)
                    @ round_to_nearest(w * factors, grid, torch.float32).values().T
                    - inputs @ w.T
                )
                .square()
                .sum()
            )
            for w in weights
        )
    best = min(losses, key=lambda alpha: losses[alpha])
    assert losses[best] < 0.9 * losses[0.0]
    found = search_scaling(
        weights, inputs.T @ inputs, [grid, grid], torch.float32, torch.arange(128)
    )
    assert losses[found.alpha] < 1.001 * losses[best]
    factors = sizes**found.alpha
    factors /= (factors.max() * factors.min()).sqrt()
    torch.testing.assert_close(found.factors, factors, atol=1e-4, rtol=1e-4)
