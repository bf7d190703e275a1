"""What a job does with what is odd about its sources, and about being started again."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
from caption_job import Measurer, run_job
from octavo import RequestError
from octavo.app.captioning.job import JobOptions
from octavo.app.captioning.plan import Destination, Plan
from octavo.app.captioning.prompts.prompt_set import PromptSet
from octavo.core.protocol.media_limits import MediaLimits
from PIL import Image


def plan(*sources: Path, output: Path | None, **destination: Any) -> Plan:
    return Plan(
        sources=[str(source) for source in sources],
        prompts=PromptSet.of(),
        destination=Destination(output=output, **destination),
        limits=MediaLimits(max_pixels=1000),
    )


def picture(path: Path, size: int = 8, seed: int = 1) -> Path:
    path.parent.mkdir(exist_ok=True)
    pixels = random.Random(seed).randbytes(3 * size * size)
    Image.frombytes("RGB", (size, size), pixels).save(path, "PNG")
    return path


def rows(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if "octavo" not in line]


def names(path: Path) -> Counter[str]:
    return Counter(Path(row["file"]).name for row in rows(path))


def test_copies_of_what_can_not_be_decoded_all_fail(tmp_path: Path) -> None:
    """Above the limit, so that it is decoded before anything is asked."""
    data = picture(tmp_path / "whole.png", 64).read_bytes()
    (tmp_path / "photos").mkdir()
    for i in range(5):
        (tmp_path / "photos" / f"{i}.png").write_bytes(data[: len(data) // 2])
    output = tmp_path / "out.jsonl"
    job = plan(tmp_path / "photos", output=output)
    result = run_job(replace(job, options=JobOptions(dedupe=True)))
    assert (result.captioned, result.failed) == (0, 5)
    assert names(output) == Counter(f"{i}.png" for i in range(5))


def test_each_content_is_captioned_once(tmp_path: Path) -> None:
    for i in range(40):
        picture(tmp_path / "photos" / f"{i}.png", seed=i % 7)
    output, backend = tmp_path / "out.jsonl", Measurer()
    job = replace(plan(tmp_path / "photos", output=output), options=JobOptions(dedupe=True))
    result = run_job(job, backend)
    assert backend.num_answered == 7
    assert (result.captioned, result.repeated) == (40, 33)
    texts = {int(Path(row["file"]).stem): row["caption"] for row in rows(output)}
    assert all(texts[i] == texts[i % 7] for i in range(40))


def test_columns_of_any_kind(tmp_path: Path) -> None:
    """Names that are not UTF-8, or called as facts are, integers of any size, lone surrogates."""
    picture(tmp_path / "a.png")
    row = {"image": "a.png", "duplicate_of": None, "completion_tokens": 5, "n": 2**70}
    row |= {"gr\udcf6\udcdfe": ["x\ud800", {"\udcff": 1.5}]}
    (tmp_path / "t.jsonl").write_text(
        json.dumps(row) + "\n" + json.dumps({"image": "no\ud800.png", "completion_tokens": 1})
    )
    output = tmp_path / "out.jsonl"
    job = plan(tmp_path / "t.jsonl", output=output, fields=("file", "caption", "n"))
    for _ in range(2):
        run_job(job)
        good, bad = rows(output)
        assert good["caption"]
        assert good["n"] == str(2**70)
        assert bad["error"]


@pytest.mark.parametrize("name", ["out.tar", "out.csv", "out.jsonl"])
def test_a_pattern_over_its_own_files(tmp_path: Path, name: str) -> None:
    """As a shell expands photos/*, in each run anew."""
    folder = tmp_path / "photos"
    for i in range(3):
        picture(folder / f"{i}.png", seed=i)
    for _ in range(3):
        result = run_job(plan(*sorted(folder.iterdir()), output=folder / name))
        assert result.captioned + result.done_before == 3


def test_other_outputs_are_not_mixed_in(tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "a.png")
    output = tmp_path / "out.jsonl"
    run_job(plan(tmp_path / "photos", output=output))
    with pytest.raises(RequestError, match="sidecars was None and is "):
        run_job(plan(tmp_path / "photos", output=output, sidecars=(".txt",)))
    with pytest.raises(RequestError, match="failures was None"):
        run_job(plan(tmp_path / "photos", output=output, errors=tmp_path / "e.jsonl"))


def test_what_others_wrote_is_kept_by_later_runs_too(tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "a.png")
    output = tmp_path / "out.jsonl"
    output.write_text(
        json.dumps({"file": str(tmp_path / "photos" / "a.png"), "caption": "x"}) + "\n"
    )
    job = plan(tmp_path / "photos", output=output)
    run_job(replace(job, options=JobOptions(only_missing=True)))
    picture(tmp_path / "photos" / "b.png", seed=2)
    run_job(job)
    assert names(output) == Counter(["a.png", "b.png"])


def test_only_a_journal_is_removed_as_one(tmp_path: Path) -> None:
    photo = picture(tmp_path / "photos" / "a.png")
    before = photo.read_bytes()
    job = plan(photo, output=tmp_path / "out.jsonl", journal=photo, overwrite=True)
    with pytest.raises(RequestError, match="no journal"):
        run_job(replace(job, sources=[str(copyfile(photo, tmp_path / "b.png"))]))
    assert photo.read_bytes() == before
