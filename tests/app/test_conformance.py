"""`octavo plugins check` finds what is broken, and says so; a broken plugin stops nobody else."""

from __future__ import annotations

import os
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from octavo.__main__ import main
from octavo.app.conformance.check import check_plugin
from octavo.app.conformance.finding import Finding
from octavo.core.registry.registry import get_registry, load_registry
from serving import chat, running_server

PLUGIN = """
from itertools import count
from octavo.core.contracts.specs import EncoderExample, EncoderSpec, QuantSpec, ModelSpec
from octavo.core.registry.hookspecs import hookimpl
from octavo.plugins.encoders.clip import TINY
from octavo.plugins.encoders.clip.encoder import CLIPVisionEncoder
from octavo.plugins.encoders.clip.preprocessor import CLIPPreprocessor
from octavo.core.layers.quantized_linear import QuantizedLinear, quantize_rows
from octavo.plugins.quant.int8.method import Int8Method
from torch import nn

CLIP = "octavo.plugins.encoders.clip.encoder:CLIPVisionEncoder"
SETTINGS = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}

class Good(CLIPPreprocessor):
    pass

class WrongCount(CLIPPreprocessor):
    def num_tokens(self, size):
        return super().num_tokens(size) + size.width % 3

TURNS = count(1, 7)

class Restless(CLIPPreprocessor):
    def preprocess(self, image):
        return super().preprocess(image.rotate(next(TURNS)))

class Hashed(CLIPPreprocessor):
    def fingerprint(self):
        return str(hash("settings"))

class Constant(CLIPPreprocessor):
    def fingerprint(self):
        return "always"

class Crossed(CLIPVisionEncoder):
    def __call__(self, images, layouts=()):
        return super().__call__(images)[::-1]

def other_features(tower, pixel_values):
    return tower([pixel_values])[0] + 1

class Coarse(Int8Method):
    def quantize(self, name, layer):
        layer.weight.mul_(0.1)
        return QuantizedLinear(quantize_rows(layer.weight), layer.bias)

class Heavy(Int8Method):
    def quantize(self, name, layer):
        return layer

@hookimpl
def octavo_register_encoders(register):
    for kind in (Good, WrongCount, Restless, Hashed, Constant, Crossed):
        tower = f"{__name__}:Crossed" if kind is Crossed else CLIP
        config = {"model_type": "clip_vision_model", **TINY}
        register(
            EncoderSpec(
                name=kind.__name__,
                model_types=(kind.__name__,),
                load=tower,
                preprocessor=f"{__name__}:{(Good if kind is Crossed else kind).__name__}",
                example=EncoderExample(config, SETTINGS),
                reference=f"{__name__}:other_features" if kind is Good else None,
                contract_version=2,
            )
        )

@hookimpl
def octavo_register_quant(register):
    for kind in (Coarse, Heavy):
        load = f"{__name__}:{kind.__name__}"
        register(QuantSpec(name=kind.__name__, load=load, contract_version=2))

@hookimpl
def octavo_register_models(register):
    register(ModelSpec("empty", ("E",), f"{__name__}:Good", contract_version=2))
    register(ModelSpec("missing", ("M",), f"{__name__}:Nowhere", contract_version=2))
"""


def test_each_broken_promise_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "octavo_broken_promises.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("PYTHONHASHSEED", "random")
    registry = load_registry([EntryPoint("broken", "octavo_broken_promises", "octavo")])
    (plugin,) = registry.plugins
    failed = {
        (f.subject, f.check): f.note for f in check_plugin(plugin, registry) if f.result == "FAILED"
    }
    expected = {
        ("encoder Good", "parity"): "not close",
        ("encoder WrongCount", "token counts"): "num_tokens is",
        ("encoder Restless", "preprocessing"): "other pixel values the second time",
        ("encoder Hashed", "fingerprint"): "another process",
        ("encoder Constant", "fingerprint"): "another image_mean gives the same",
        ("encoder Crossed", "several images"): "not close",
        ("quant Coarse", "layer in float32"): "its output is off by",
        ("quant Coarse", "layer in bfloat16"): "its output is off by",
        ("quant Heavy", "layer in float32"): "no less than",
        ("quant Heavy", "layer in bfloat16"): "no less than",
        ("model empty", "class"): "has no map_weight, embed",
        ("model missing", "class"): "Nowhere",
    }
    assert set(failed) == set(expected)
    for key, note in expected.items():
        assert note in failed[key]


def test_the_built_in_ones_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "check", "encoders.qwen_vit"]) == 0
    assert "encoder qwen2.5-vit  token counts" in capsys.readouterr().out
    registry = get_registry()
    quick = [p for p in registry.plugins if not p.name.startswith("encoders.")]
    findings: list[Finding] = [f for p in quick for f in check_plugin(p, registry)]
    assert {f.result for f in findings} == {"ok"}
    assert main(["plugins", "check", "nobody"]) == 2
    assert "no plugin or package 'nobody'" in capsys.readouterr().err


def test_the_server_starts_beside_a_broken_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Found by its metadata, as an installed package is."""
    package = tmp_path / "broken_thing-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-thing\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[octavo]\nbroken = broken_thing\n")
    (tmp_path / "broken_thing.py").write_text("raise ImportError('a part is not there')\n")
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)
    with running_server("--kv-cache-memory", "32MiB") as url:
        assert chat(url, max_tokens=2).status_code == 200
    monkeypatch.syspath_prepend(str(tmp_path))
    get_registry.cache_clear()
    try:
        assert main(["plugins", "check", "broken-thing"]) == 1
    finally:
        get_registry.cache_clear()
    report = capsys.readouterr().out
    assert "refused: ImportError: a part is not there" in report
