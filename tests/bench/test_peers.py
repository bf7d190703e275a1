"""The comparison with other engines: its work, its floors and its page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from octavo.bench.peers import page
from octavo.bench.peers.__main__ import build_parser, main
from octavo.bench.peers.floors import (
    ModelShape,
    Rates,
    floor_metrics,
    make_rates,
    read_shape,
)
from octavo.bench.peers.results import (
    EngineResult,
    GroupResult,
    MachineLimits,
    RunResult,
    WorkResult,
)
from octavo.bench.peers.workloads import (
    WORKLOADS,
    make_calls,
    prompt_tokens,
    to_metrics,
    warm_up_calls,
)
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    CLIPVisionConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

TEXT = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "vocab_size": 64,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 4,
}
SIZES = {
    "t1": (1, 128, [512]),
    "t3": (32, 16, [432] * 32),
    "p1": (1, 1, [2048]),
    "d1": (1, 32, [64]),
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_as_specified(name: str, tmp_path: Path) -> None:
    whole = make_calls(WORKLOADS[name], 1, tmp_path)["whole"]
    requests, max_tokens, lengths = SIZES[name]
    assert (len(whole.prompts), whole.max_tokens) == (requests, max_tokens)
    assert [len(prompt) for prompt in whole.prompts] == lengths


def test_mixed_lengths(tmp_path: Path) -> None:
    whole = make_calls(WORKLOADS["t2"], 1, tmp_path)["whole"]
    lengths = [len(prompt) for prompt in whole.prompts]
    assert (len(lengths), whole.max_tokens) == (32, 64)
    assert min(lengths) >= 64
    assert max(lengths) <= 512
    assert len(set(lengths)) > 16


def test_a_common_prefix_is_counted_once(tmp_path: Path) -> None:
    whole = make_calls(WORKLOADS["t3"], 1, tmp_path)["whole"]
    assert len({tuple(prompt[:400]) for prompt in whole.prompts}) == 1
    assert len({prompt[400] for prompt in whole.prompts}) > 1
    assert prompt_tokens([whole]) == 400 + 32 * 32


def test_images(tmp_path: Path) -> None:
    first = make_calls(WORKLOADS["v1"], 1, tmp_path)
    assert list(first) == ["first", "again", "whole"]
    assert first["first"] == first["again"]
    many = make_calls(WORKLOADS["v2"], 1, tmp_path)["whole"]
    contents = [Path(name).read_bytes() for name in many.images]
    assert [contents.count(content) for content in contents] == [2] * 16
    contents += [Path(call.images[0]).read_bytes() for call in first.values()]
    assert len(set(contents)) == 8 + 2
    for name in (*many.images, *first["whole"].images):
        with Image.open(name) as image:
            assert (image.size, image.mode) == ((512, 512), "RGB")


def test_every_process_draws_the_same(tmp_path: Path) -> None:
    code = (
        "import json, sys; from pathlib import Path\n"
        "from octavo.bench.peers.workloads import WORKLOADS, make_calls\n"
        "for name in ('t1', 't2', 't3', 'v1'):\n"
        "    calls = make_calls(WORKLOADS[name], 2, Path(sys.argv[1]))\n"
        "    print(json.dumps([call.to_message() for call in calls.values()]))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    output = subprocess.run(
        command, env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True
    ).stdout
    for name, line in zip(("t1", "t2", "t3", "v1"), output.splitlines(), strict=True):
        calls = make_calls(WORKLOADS[name], 2, tmp_path).values()
        assert json.loads(line) == [call.to_message() for call in calls]


def test_nothing_is_seen_twice(tmp_path: Path) -> None:
    prompts = [
        tuple(prompt[:16])
        for name in ("t1", "t2", "t3", "p1", "d1")
        for variant in range(4)
        for call in make_calls(WORKLOADS[name], variant, tmp_path).values()
        for prompt in ([call.prompts[0]] if name == "t3" else call.prompts)
    ]
    assert len(set(prompts)) == len(prompts)


def test_warm_ups_are_short(tmp_path: Path) -> None:
    (t2,) = warm_up_calls(WORKLOADS["t2"], tmp_path)
    whole = make_calls(WORKLOADS["t2"], 0, tmp_path)["whole"]
    assert list(t2.prompts) == list(whole.prompts[:4])
    assert [call.max_tokens for call in warm_up_calls(WORKLOADS["v1"], tmp_path)] == [1, 1, 8]


def test_metrics() -> None:
    t1 = to_metrics(WORKLOADS["t1"], {"first": 0.5, "whole": 3.04})
    assert t1 == pytest.approx({"ttft_ms": 500, "decode_tok_s": 127 / 2.54, "wall_s": 3.04})
    t2 = to_metrics(WORKLOADS["t2"], {"whole": 4.0})
    assert t2 == {"wall_s": 4.0, "out_tok_s": 512.0, "req_s": 8.0}
    assert to_metrics(WORKLOADS["p1"], {"whole": 0.25}) == {"ttft_ms": 250.0, "wall_s": 0.25}
    v1 = to_metrics(WORKLOADS["v1"], {"first": 1.0, "again": 0.25, "whole": 2.0})
    assert v1 == {"ttft_ms": 1000.0, "again_ms": 250.0, "decode_tok_s": 31.0, "wall_s": 2.0}


def test_floors_are_exact(tmp_path: Path) -> None:
    """On round numbers: a step reads 2,200 bytes at 1,000 a second, or multiplies."""
    shape = ModelShape(layer_weights=1000, head_weights=100, tower_weights=500)
    rates = Rates(matrix=1e4, weight_bytes=2200, read=1000)

    def floor(name: str, image_prompt_tokens: int = 0) -> dict[str, float]:
        calls = [make_calls(WORKLOADS[name], v, tmp_path)["whole"] for v in (1, 2)]
        return floor_metrics(WORKLOADS[name], calls, image_prompt_tokens, shape, rates)

    first = 2 * (512 * 1000 + 100) / 1e4
    assert floor("t1")["ttft_ms"] == pytest.approx(first * 1e3)
    assert floor("t1")["decode_tok_s"] == pytest.approx(1 / 2.2)
    assert floor("t1")["wall_s"] == pytest.approx(first + 127 * 2.2)
    step = 2 * 32 * 1100 / 1e4
    prefill = 2 * (1424 * 1000 + 32 * 100) / 1e4
    assert floor("t3")["wall_s"] == pytest.approx(prefill + 15 * step)
    v2 = 2 * 8 * 500 / 1e4 + 2 * (8 * 81 * 1000 + 16 * 100) / 1e4 + 31 * 2 * 16 * 1100 / 1e4
    assert floor("v2", 81)["req_s"] == pytest.approx(16 / v2)


def test_floors_of_a_known_machine(tmp_path: Path) -> None:
    """SmolLM2-135M at 1.9 TFLOP/s and 32 GB/s, worked out by hand: 57 ms, 119 tokens a second
    and 0.29 s."""
    LlamaConfig(
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        vocab_size=49152,
    ).save_pretrained(tmp_path)
    shape = read_shape(tmp_path)
    assert 2 * (shape.layer_weights + shape.head_weights) == pytest.approx(269e6, rel=1e-3)
    limits = MachineLimits(32e9, 0.3e12, 1.9e12)
    rates = make_rates(shape, limits, "bf16")
    t1, t3 = (
        floor_metrics(
            WORKLOADS[name], [make_calls(WORKLOADS[name], 1, tmp_path)["whole"]], 0, shape, rates
        )
        for name in ("t1", "t3")
    )
    assert t1["ttft_ms"] == pytest.approx(57, abs=0.5)
    assert t1["decode_tok_s"] == pytest.approx(119, abs=0.5)
    assert t3["wall_s"] == pytest.approx(0.287, abs=0.001)


@pytest.mark.parametrize(("precision", "bits"), [("bf16", 16), ("int8", 8), ("int4", 4.25)])
def test_rates_of_a_precision(precision: str, bits: float) -> None:
    rates = make_rates(ModelShape(700, 100), MachineLimits(5.0, 2.0, 1.0), precision)
    assert rates == Rates(2.0, 100 * bits, 5.0)


def test_shapes_agree_with_what_torch_counts(tmp_path: Path) -> None:
    config = LlamaConfig(**TEXT)
    config.save_pretrained(tmp_path)
    operations = count(
        lambda ids: LlamaForCausalLM(config)(ids), torch.ones(1, 7, dtype=torch.long)
    )
    shape = read_shape(tmp_path)
    assert operations == 2 * 7 * (shape.layer_weights + shape.head_weights)


def test_a_tower_agrees_with_what_torch_counts(tmp_path: Path) -> None:
    config = Idefics3Config(
        vision_config=VISION, text_config=LlamaConfig(**TEXT), image_token_id=3, scale_factor=2
    )
    config.save_pretrained(tmp_path)
    model = Idefics3ForConditionalGeneration(config).model
    operations = count(model.get_image_features, torch.ones(1, 1, 3, 16, 16))
    assert operations == 2 * read_shape(tmp_path).tower_weights


def test_layers_that_are_not_needed_are_not_counted(tmp_path: Path) -> None:
    config = LlavaConfig(vision_config=CLIPVisionConfig(**VISION), text_config=LlamaConfig(**TEXT))
    config.save_pretrained(tmp_path)
    model = LlavaForConditionalGeneration(config).model
    operations = count(model.get_image_features, torch.zeros(1, 3, 16, 16))
    # transformers computes the last layer, too, and all of them for the class token.
    layer, patches = 4 * 16 * 16 + 2 * 16 * 20, 16
    more = (patches + 1) * 2 - patches
    assert operations == 2 * (read_shape(tmp_path).tower_weights + more * layer)


def count(call: Any, inputs: torch.Tensor) -> int:
    """Operations of matrix products and convolutions, without those of attention."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        call(inputs)
    linear = ("mm", "addmm", "convolution")
    counts = counter.get_flop_counts()["Global"]
    return sum(n for op, n in counts.items() if str(op).removeprefix("aten.") in linear)


def make_run() -> RunResult:
    def engine(name: str, ttft: list[float], decode: float, mib: int) -> EngineResult:
        repeats = [{"ttft_ms": t, "decode_tok_s": decode, "wall_s": 1.0} for t in ttft]
        works = {"t1": WorkResult(repeats=repeats, prompt_tokens=512, foreign_cores=0.02)}
        return EngineResult(
            name=name, version="1", precision="bf16", ready_s=2, peak_bytes=mib << 20, works=works
        )

    group = GroupResult(
        model="smollm2-135m",
        precision="bf16",
        engines=[
            engine("Octavo", [90.0, 100.0, 400.0], 90.0, 600),
            engine("vLLM", [200.0, 200.0, 200.0], 60.0, 3000),
            engine("OpenVINO", [125.0, 125.0, 125.0], 45.0, 2000),
        ],
        floors={"t1": {"ttft_ms": 80.0, "decode_tok_s": 120.0}},
    )
    limits = MachineLimits(25e9, 150e9, 7e9)
    return RunResult(
        command="the command", machine="the machine", date="2026-11-25", limits=limits,
        groups=[group],
    )  # fmt: skip


def cells(text: str) -> dict[str, dict[str, str]]:
    """Rows of the page's only table, by their first cell."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    header, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}


def test_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(msgspec.json.encode(make_run()))
    assert page.main([str(path)]) == 0
    text = capsys.readouterr().out
    for part in ("the command", "the machine", "2026-11-25", "25.0 GB/s", "150 GFLOP/s in float32"):
        assert part in text
    table = cells(text)
    assert table["Octavo 1 bf16"]["T1 first token ms"] == "100"
    assert table["*floor*"] == {
        "T1 first token ms": "80",
        "T1 decode tok/s": "120",
        "peak MiB": "–",
        "ready s": "–",
    }
    assert table["**Octavo ÷ best peer**"] == {
        "T1 first token ms": "0.80× (OpenVINO)",
        "T1 decode tok/s": "1.50× (vLLM)",
        "peak MiB": "0.30× (OpenVINO)",
        "ready s": "1.00× (OpenVINO)",
    }
    assert table["**Octavo ÷ floor**"]["T1 first token ms"] == "1.25×"
    assert table["**Octavo ÷ floor**"]["T1 decode tok/s"] == "0.75×"
    assert "not idle" not in text
    assert "failed" not in text


def test_page_says_what_went_wrong() -> None:
    run = make_run()
    engines = run.groups[0].engines
    engines[1].works["t1"] = WorkResult(error="it took over 9 s", foreign_cores=0.7)
    engines[2].error = "no module"
    engines[2].works = {}
    text = page.render([run])
    assert "vLLM failed at T1: it took over 9 s" in text
    assert "OpenVINO failed at START: no module" in text
    assert "others used up to 0.7 cores" in text
    table = cells(text)
    assert table["vLLM 1 bf16"]["T1 first token ms"] == "–"
    assert table["**Octavo ÷ best peer**"]["T1 first token ms"] == "–"
    assert table["**Octavo ÷ best peer**"]["peak MiB"] == "0.20× (vLLM)"


def test_page_names_prompts_that_differ() -> None:
    run = make_run()
    for engine, tokens in zip(run.groups[0].engines, (590, 591, 0), strict=True):
        engine.works["v1"] = WorkResult(repeats=[{"wall_s": 1.0}], prompt_tokens=tokens)
    assert "V1 differ in tokens: Octavo 590, vLLM 591." in page.render([run])


def test_results_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other.json"
    path.write_text('{"command": 1}')
    assert page.main([str(path)]) == 2
    assert "can't be read" in capsys.readouterr().err


def test_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "smollm2-135m").mkdir()
    (tmp_path / "smolvlm-256m").mkdir()
    for arguments, message in (
        (["--models", str(tmp_path), "--vllm-python", "nowhere/python"], "no program nowhere/py"),
        (["--models", str(tmp_path)], "llava-1.5; octavo.bench.peers.prepare writes it"),
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        assert message in capsys.readouterr().err
    options = build_parser().parse_args(["--models", "x", "--vllm-python", sys.executable])
    assert options.vllm_python == sys.executable


def test_unknown_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["--models", "x", "--tests", "t1,t9"])
    assert "there is no t9; choose from t1, t2" in capsys.readouterr().err
    options = build_parser().parse_args(["--models", "x"])
    assert options.tests == ["t1", "t2", "t3", "v1", "v2"]
    assert options.precisions == ["bf16", "int8", "int4"]
