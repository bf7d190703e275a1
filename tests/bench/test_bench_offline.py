"""`octavo bench` without a server of its own kind: throughput, latency, startup, accuracy."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from octavo import LLM, SamplingParams
from octavo.__main__ import main
from octavo.app import DEMO_MODEL
from octavo.bench.accuracy import all_questions, reference_captions
from octavo.bench.demo_captions import transformers_captions
from octavo.bench.offline import OfflineEngine
from octavo.bench.process_memory import memory_of_tree, peak_mib
from octavo.bench.workload import (
    Lengths,
    RequestMix,
    draw_shapes,
    text_of,
    token_ids_of,
    warm_up_shape,
)
from octavo.core.protocol.config import EngineConfig
from octavo.kernels.cpu.build import cache_folder

PNG = b"\x89PNG\r\n\x1a\n"
RATES = ("request_throughput", "output_throughput", "total_token_throughput")


def bench(tmp_path: Path, *options: str) -> dict[str, Any]:
    file = tmp_path / "deep" / "result.json"
    kind, *rest = options
    assert main(["bench", kind, f"--output-json={file}", *rest]) == 0
    result: dict[str, Any] = json.loads(file.read_text())
    assert result["benchmark"] == kind
    machine = result["machine"]
    assert machine["cores"] == len(os.sched_getaffinity(0))
    assert machine["versions"].keys() >= {"octavo", "torch", "numpy"}
    assert set(machine["isa"]) <= set(Path("/proc/cpuinfo").read_text().split())
    total_kib = int(Path("/proc/meminfo").read_text().split()[1])
    assert machine["memory_gib"] == pytest.approx(total_kib / 2**20, rel=0.05)
    return result


def test_throughput(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    options = ["--num-prompts=6", "--input-len=5-30", "--output-len=3", "--prefix-len=4",
               "--image-share=0.5", "--distinct-images=2", "--image-size=64", "--seed=4",
               "--encoder-cache=redis://user:hidden@127.0.0.1:1/0"]  # fmt: skip
    result = bench(tmp_path, "throughput", *options, f"--plot={tmp_path}")
    mix = RequestMix(num_prompts=6, input_len=Lengths(5, 30), output_len=Lengths(3, 3),
                     prefix_len=4, image_share=0.5, distinct_images=2, seed=4)  # fmt: skip
    for shape, length in zip(draw_shapes(mix), result["input_lens"], strict=True):
        # An image takes 64 tokens here, and the chat's template some.
        expected = 4 + shape.input_len
        assert length == expected if shape.image is None else length > expected + 64
    assert result["output_lens"] == [3] * 6
    assert result["total_output_tokens"] == 18
    tokens = (6, 18, 18 + sum(result["input_lens"]))
    for field, count in zip(RATES, tokens, strict=True):
        assert result[field] * result["duration"] == pytest.approx(count)
    assert result["peak_memory_mib"] == pytest.approx(peak_mib(), rel=0.1)
    # What leaves the machine in a file holds no password.
    assert "hidden" not in json.dumps(result)
    assert "redis://127.0.0.1:1/0" in json.dumps(result["settings"])
    check_report(tmp_path, "throughput", ["throughput"])
    assert "request_throughput" in capsys.readouterr().out


def check_report(folder: Path, benchmark: str, figures: list[str]) -> None:
    page = (folder / f"{benchmark}.html").read_text()
    for figure in figures:
        assert (folder / f"{benchmark}-{figure}.png").read_bytes().startswith(PNG)
    assert page.count("data:image/png;base64,") == len(figures)
    # Self-contained: nothing is loaded from elsewhere.
    assert 'src="http' not in page
    assert "href" not in page


def test_latency(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    options = ["--num-prompts=3", "--input-len=10", "--output-len=5", "--num-iters=4",
               "--num-iters-warmup=1", f"--plot={tmp_path}"]  # fmt: skip
    result = bench(tmp_path, "latency", *options)
    latencies, ttfts, itls = result["latencies"], result["ttfts"], result["itls"]
    assert (len(latencies), len(ttfts), len(itls)) == (4, 12, 12)
    assert result["avg_latency"] == pytest.approx(np.mean(latencies))
    assert result["percentiles"]["90"] == pytest.approx(np.percentile(latencies, 90))
    # Five tokens come one at a time, and the slowest request ends its batch.
    assert [len(gaps) for gaps in itls] == [4] * 12
    ends = np.array(ttfts) + np.array([sum(gaps) for gaps in itls])
    assert ends.reshape(4, 3).max(axis=1) == pytest.approx(latencies, rel=0.02)
    assert result["mean_itl_ms"] == pytest.approx(1000 * np.mean(itls))
    check_report(tmp_path, "latency", ["latency", "itl"])


def test_offline_answers_are_those_of_llm(tmp_path: Path, offline: LLM) -> None:
    """The timed engine does what the public class does: the same tokens for the same prompts."""
    config = EngineConfig(model=DEMO_MODEL, dtype="float32", kv_cache_memory=64 * 2**20)
    mix = RequestMix(num_prompts=3, input_len=Lengths(6, 20), output_len=Lengths(4, 9))
    shapes = draw_shapes(mix)
    records = OfflineEngine(config, 64, seed=0).run(shapes)
    vocabulary = json.loads(Path(DEMO_MODEL, "config.json").read_text())["text_config"]
    prompts = [
        {"prompt_token_ids": token_ids_of(shape, 0, vocabulary["vocab_size"])} for shape in shapes
    ]
    params = [
        SamplingParams(temperature=0, max_tokens=shape.output_len, ignore_eos=True)
        for shape in shapes
    ]
    outputs = offline.generate(prompts, params)
    assert [record.text for record in records] == [o.outputs[0].text for o in outputs]
    assert [len(record.token_times) for record in records] == [s.output_len for s in shapes]


def test_a_mix_has_what_it_says() -> None:
    mix = RequestMix(num_prompts=400, input_len=Lengths(10, 20), output_len=Lengths(5, 5),
                     prefix_len=3, image_share=0.25, distinct_images=10, seed=1)  # fmt: skip
    shapes = draw_shapes(mix)
    assert shapes == draw_shapes(mix)
    images = [shape.image for shape in shapes if shape.image is not None]
    # 100 requests with ten images: each is shown ten times.
    assert sorted(images) == sorted(list(range(10)) * 10)
    assert {shape.input_len for shape in shapes} == set(range(10, 21))
    texts = [text_of(shape, 1).split() for shape in shapes]
    assert [len(words) for words in texts] == [3 + shape.input_len for shape in shapes]
    assert len({tuple(words[:3]) for words in texts}) == 1
    assert len({tuple(words[3:]) for words in texts}) == 400
    ids = [token_ids_of(shape, 1, 2000) for shape in shapes]
    assert len({tuple(prompt[:3]) for prompt in ids}) == 1
    assert all(200 <= token_id < 1800 for prompt in ids for token_id in prompt)
    warm = warm_up_shape(mix, 0)
    assert (warm.prefix_len, warm.image in images) == (0, False)
    assert text_of(warm, 1) not in {text_of(shape, 1) for shape in shapes}


def test_startup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    # A cold start compiles the kernels again, which takes most of it and is checked elsewhere.
    monkeypatch.setenv("OCTAVO_KERNEL_CACHE", str(cache_folder()))
    options = ["--repeats=1", f"--plot={tmp_path}", "--", "--kv-cache-memory=32MiB"]
    result = bench(tmp_path, "startup", *options)
    cold, warm = result["starts"]
    for start in (cold, warm):
        assert 0.1 < start["healthy_s"] < start["first_answer_s"]
        # The server, its engine and at least one process for images.
        assert len(start["processes"]) >= 3
        assert 300 < start["pss_mib"] <= sum(p["rss"] for p in start["processes"])
        assert 0.5 < start["cpu_s"] == sum(p["cpu_s"] for p in start["processes"])
        assert all(p["pss"] <= p["rss"] <= p["peak"] for p in start["processes"])
    assert result["cold_first_answer_s"] == cold["first_answer_s"]
    assert result["warm_healthy_s"] == warm["healthy_s"]
    check_report(tmp_path, "startup", ["startup"])


def test_memory_is_that_of_a_process() -> None:
    psutil = pytest.importorskip("psutil")
    before = psutil.Process().memory_info().rss / 2**20
    (own, *_) = memory_of_tree(os.getpid())
    assert own.rss == pytest.approx(before, rel=0.2)
    with pytest.raises(OSError, match="No such file"):
        memory_of_tree(2**22 + 1)


def test_accuracy(
    tmp_path: Path, checkpoints: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    options = ["--num-questions=60", "--dtype=float32", f"--plot={tmp_path}"]
    result = bench(tmp_path, "accuracy", *options)
    captions = result["captions"]
    assert result["exact_match"] == sum(c["caption"] == c["reference"] for c in captions) / 60
    # Two in sixty may tip over on another processor.
    assert result["exact_match"] >= 58 / 60
    right = [c["right"] for c in captions]
    assert result["word_accuracy"] == sum(right) / 60
    assert any(right)
    assert not all(right)
    for c in captions:
        if c["question"] == "What color is the background?":
            assert c["right"] == (c["background"] in c["caption"])
    check_report(tmp_path, "accuracy", ["accuracy"])
    # One with random weights is seen to answer worse, and there is nothing to match.
    random = bench(
        tmp_path, "accuracy", "--num-questions=30", f"--model={checkpoints['llava-clip']}"
    )
    assert random["word_accuracy"] < result["word_accuracy"] / 2
    assert random["exact_match"] is None
    capsys.readouterr()
    assert main(["bench", "accuracy", "--num-questions=0"]) == 2
    assert "num_questions must be at least 1" in capsys.readouterr().err


def test_reference_captions_are_those_of_transformers() -> None:
    questions = all_questions()
    assert len(questions) == len(reference_captions()) == 180
    chosen = range(1, 180, 19)
    captions = list(transformers_captions([questions[i] for i in chosen]))
    same = [caption == reference_captions()[i] for i, caption in zip(chosen, captions, strict=True)]
    # One may tip over on another processor.
    assert sum(same) >= len(same) - 1


def test_figures_need_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["bench", "throughput", "--num-prompts=1", f"--plot={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert "--plot needs matplotlib: pip install 'octavo[bench]'" in error
    assert not list(tmp_path.iterdir())


def test_a_file_that_can_not_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    options = ["--num-prompts=1", "--input-len=3", "--output-len=1"]
    assert main(["bench", "throughput", *options, f"--output-json={tmp_path}/file/x.json"]) == 2
    said = capsys.readouterr()
    assert said.err == f"octavo: --output-json: {tmp_path}/file is no folder\n"
    assert said.out == ""  # before anything is measured
