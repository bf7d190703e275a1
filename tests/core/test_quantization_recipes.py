"""Rules for each layer: what they match, and answers of the weights that they round."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from octavo import LLM
from octavo.core.layers.prepared_linear import PreparedLinearLayer
from octavo.core.layers.quantized_linear import QuantizedLinear
from octavo.core.protocol.config import ConfigError, EngineConfig
from parity import GREEDY, Reference, check_equal, conversation, logprob_matrix
from PIL import Image
from safetensors.torch import load_file, save_file
from text_checkpoints import save_family, save_text_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

#: By a layer's name: the number of its bits, 0 if it stays.
Bits = Callable[[str], int]


def rounded(weight: Tensor, bits: int) -> Tensor:
    """To the nearest of 255 steps of a row, or of 16 of a group of 64 inputs."""
    if bits == 8:
        scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-30) / 127
        return (weight / scale).round() * scale
    groups = weight.view(len(weight), -1, 64)
    low, high = groups.amin(2, keepdim=True), groups.amax(2, keepdim=True)
    scale, zero = ((high - low) / 15).half().float(), low.half().float()
    return (((groups - zero) / scale.clamp(min=1e-7)).round().clamp(0, 15) * scale + zero).flatten(
        1
    )


def save_rounded(folder: Path, source: Path, bits: Bits) -> Path:
    """The checkpoint with the weights that layers would have if they were dequantised."""
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in tensors.items():
        if tensor.ndim == 2 and (width := bits(name.removesuffix(".weight"))):
            tensors[name] = rounded(tensor.float(), width)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def load(folder: Path, quantization: str) -> LLM:
    return LLM(folder, dtype="float32", kv_cache_memory=2**24, quantization=quantization)


def model_of(llm: LLM) -> Any:
    return llm._core._executor._runner._model


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With whole groups of 64 inputs in all layers, and a head of its own."""
    sizes = {"intermediate_size": 192, "head_dim": 32}
    return save_family(tmp_path_factory.mktemp("wide"), "Llama", sizes)


def _layers_0(name: str) -> int:
    if name == "lm_head" or name.endswith("down_proj"):
        return 8 if ".layers.0." not in name else 0
    return 0 if "layers.0." in name or "layers" not in name else 4


def _within_layers(name: str) -> int:
    """Queries and keys differ, and so do gate and up."""
    return {"q_proj": 8, "up_proj": 8, "o_proj": 4, "lm_head": 4}.get(name.rpartition(".")[2], 0)


RECIPES: list[tuple[str, Bits]] = [
    ("layers.0.*=none,*.down_proj=int8,head=int8,*=int4", _layers_0),
    ("*.q_proj=int8,up_proj=int8,*.o_proj=int4,lm_head=int4", _within_layers),
]


@pytest.mark.parametrize(("recipe", "bits"), RECIPES)
def test_answers_are_those_of_the_rounded_weights(
    recipe: str, bits: Bits, wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The fast kernels round activations, too.
    monkeypatch.setenv("OCTAVO_KERNELS", "decoder=reference,linear=reference")
    prompt = conversation("What is this?", [])
    expected = Reference(save_rounded(tmp_path / "plain", wide, bits)).answer(prompt)
    check_equal(load(wide, recipe).chat(prompt, GREEDY)[0], expected)


@pytest.mark.parametrize(("recipe", "bits", "fused"), [(*RECIPES[0], True), (*RECIPES[1], False)])
def test_mixed_layers_run_in_the_fast_kernels(
    recipe: str, bits: Bits, fused: bool, wide: Path, tmp_path: Path
) -> None:
    """A decoder whose layers differ is one call, unless gate and up of a layer differ."""
    llm = load(wide, recipe)
    assert (model_of(llm)._decoder is not None) == fused
    assert model_of(llm)._head is not None
    parts = list(model_of(llm).modules())
    assert not any(isinstance(part, (nn.Linear, QuantizedLinear)) for part in parts)
    assert sum(isinstance(part, PreparedLinearLayer) for part in parts) == (0 if fused else 14)
    ids = torch.arange(5, 69)
    logits = torch.cat(list(llm._core._executor.text_logits(ids.tolist())))
    folders = save_rounded(tmp_path / "plain", wide, bits), wide
    near, far = (load_plain(folder)(ids[None]).logits[0] for folder in folders)
    # Activations are rounded to 8 bits, which is less than what weights lose at 4.
    assert (logits - near).norm() < 0.03 * near.norm() < 0.5 * (logits - far).norm()


def load_plain(folder: Path) -> Any:
    kind: Any = AutoModelForCausalLM
    return kind.from_pretrained(folder, dtype=torch.float32).requires_grad_(False).eval()


def test_queries_and_keys_of_other_formats_are_one_call(wide: Path) -> None:
    llm = load(wide, "q_proj=int8,*.v_proj=int4,*.mlp.*=int4")
    assert model_of(llm)._decoder is not None


@pytest.mark.parametrize("bits", [8, 4])
def test_a_head_that_is_the_embeddings(
    bits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets the bits that its rule says, and lookups what is stored."""
    monkeypatch.setenv("OCTAVO_KERNELS", "decoder=reference,linear=reference")
    folder = save_text_model(tmp_path / "tied", "llama-llama3")
    llm = load(folder, f"head=int{bits}")
    weight = load_file(folder / "model.safetensors")["model.embed_tokens.weight"].float()
    ids, hidden = torch.arange(9), torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model_of(llm).embed(ids), weight[ids])
    expected = hidden @ rounded(weight, bits).T
    torch.testing.assert_close(model_of(llm).compute_logits(hidden), expected, atol=1e-4, rtol=1e-4)


def _tower(name: str) -> int:
    if "lm_head" in name:
        return 8
    if "vision_tower" in name and name.endswith(("_proj", "fc1", "fc2")):
        return 8
    return 4 if "multi_modal_projector" in name else 0


def test_a_tower_and_a_projector_that_rules_name(
    checkpoints: dict[str, Path],
    pictures: list[Image.Image],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = tmp_path / "source"
    save_rounded(source, checkpoints["llava-siglip"], lambda name: 0)
    recipe = "vision_tower.*=int8,multi_modal_projector.linear_2=int4,head=int8"
    bits: Bits = lambda name: 0 if name.endswith("linear_1") else _tower(name)  # noqa: E731
    prompt = conversation("What is this?", pictures[:1])
    expected = Reference(save_rounded(tmp_path / "plain", source, bits)).answer(prompt)
    llm = load(source, recipe)
    tower = model_of(llm)
    layers = {n for n, m in tower.named_modules() if isinstance(m, PreparedLinearLayer)}
    assert "multi_modal_projector.linear_2" in layers
    assert not any(isinstance(part, QuantizedLinear) for part in tower.modules())
    close = logprob_matrix(llm.chat(prompt, GREEDY)[0].outputs[0])[0]
    assert (close - expected[2][0]).abs().max() < 0.5
    monkeypatch.setenv("OCTAVO_KERNELS", "decoder=reference,linear=reference,encoder=reference")
    check_equal(load(source, recipe).chat(prompt, GREEDY)[0], expected)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("layer.0.*=none,*=int8", r"layer\.0\.\* matches none of the model's layers, such as lang"),
        ("layers.0=int8", r"layers\.0 matches none"),
        ("*.fc1=int8", r"\*\.fc1 matches none of .*, vision_tower\.\S+, multi_modal_projector\."),
        ("*=int4,head=int8", r"head=int8 has no effect, as \*=int4 before it takes all"),
        ("embeddings=int8", r"embeddings=int8: language_model\.model\.embed_tokens can't be qu"),
        ("*=int8,*.norm=int8", r"model\.norm can't be quantised, as it is no linear layer"),
        ("*.q_proj=awq", "isn't quantised with awq, which reads checkpoints that are"),
        ("*.q_proj", r"quantisation method '\*\.q_proj'"),
        ("*.q_proj=", r"'\*\.q_proj=' is no rule of the form pattern=method"),
        ("*=int4,,", "'=' is no rule"),
        ("no.yaml", r"no\.yaml can't be read: No such file"),
    ],
)
def test_what_is_refused(recipe: str, message: str, checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=message):
        load(checkpoints["llava-siglip"], recipe)


def test_a_quantised_checkpoint_is_quantised_once(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    source = save_rounded(tmp_path / "stored", checkpoints["llama"], lambda name: 0)
    config = (source / "config.json").read_text()
    settings = '{"quantization_config": {"quant_method": "awq", "bits": 4}, '
    (source / "config.json").write_text(config.replace("{", settings, 1))
    with pytest.raises(ConfigError, match=r"with awq and can't be with head=int8,\*=int4 too"):
        load(source, "head=int8,*=int4")


def test_a_file_of_rules_is_its_rules(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text('- {match: "layers.0.*", method: none}\n- match: "*"\n  method: int4\n')
    config = EngineConfig(model="m", quantization=str(path))
    assert config.quantization == "layers.0.*=none,*=int4"
    assert EngineConfig(model="m", quantization="*=int4").quantization == "int4"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "must be a list of rules such as"),
        ("match: a", "must be a list of rules"),
        ("- a", "rule 1 must have the keys match and method"),
        ("- {match: a, method: int4}\n- {match: b, method: int4, bits: 3}", "rule 2 must have"),
        ("- {match: a, method: 4}", "method of rule 1 must be a text, got 4"),
        ("- {match: a, match: b, method: int4}", "a key twice: match, match, method"),
        ("- {match: 'a,b', method: int4}", "rule 1: 'a,b=int4' is no rule"),
        ("- {match: *.a, method: int4}", "alias"),
    ],
)
def test_files_that_are_no_recipes(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"(?s)quantization: \S*recipe\.yml:? .*{message}"):
        EngineConfig(model="m", quantization=str(path))
