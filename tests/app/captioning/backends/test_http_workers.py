"""A server of Octavo answers as the same model in this process."""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path

from captioning_tasks import file_of, picture_of, question, reader
from octavo import LLM
from octavo.app.captioning.backends.http_workers import HttpWorkers
from octavo.app.captioning.picture import FileAt, Picture
from octavo.app.captioning.task import Captioned, Failed, Question, Skipped, Task
from PIL import Image

TEXTS = {"caption": "What is in this picture?", "colour": "Which colour is it?"}


def expected(offline: LLM, picture: Image.Image, text: str) -> str:
    parts = [{"type": "image", "image": picture}, {"type": "text", "text": text}]
    params = offline.default_sampling_params(temperature=0.0, max_tokens=8)
    messages = [{"role": "user", "content": parts}]
    (output,) = offline.chat(messages, params, use_tqdm=False)
    return output.outputs[0].text


def test_answers_are_those_of_the_model_itself(
    demo_server: str, offline: LLM, pictures: list[Image.Image]
) -> None:
    """Of files in several formats, and of one that is broken, which the server says."""
    prompts = [question(text, name) for name, text in TEXTS.items()]
    formats = ["PNG", "BMP", "TIFF"]
    files = [file_of(*pair) for pair in zip(pictures, formats, strict=True)]
    files.insert(1, files[0][:200])
    source = [picture_of(f"picture {index}", data) for index, data in enumerate(files)]
    with closing(HttpWorkers([demo_server], connections=3)) as workers:
        assert list(workers.facts) == ["model"]
        outcomes = list(workers.run(source, reader(*prompts)))
    failed = outcomes.pop(1)
    assert isinstance(failed, Failed)
    assert failed.error.startswith("prompt caption: the image is truncated or damaged")
    for picture, outcome in zip(pictures, outcomes, strict=True):
        assert isinstance(outcome, Captioned)
        assert {name: answer.text for name, answer in outcome.answers.items()} == {
            name: expected(offline, picture, text) for name, text in TEXTS.items()
        }
        for answer in outcome.answers.values():
            assert answer.completion_tokens <= 8 < answer.prompt_tokens


def test_outcomes_of_reading_pass_through(demo_server: str) -> None:
    source = [Picture(name, FileAt(name)) for name in ("a", "b")]
    said = {"a": Skipped(source[0], "no picture"), "b": Failed(source[1], "no such file")}
    with closing(HttpWorkers([demo_server])) as workers:
        outcomes = list(workers.run(source, lambda picture: said[picture.name]))
        assert outcomes == list(said.values())
        assert not list(workers.run([], lambda picture: said[picture.name]))


def test_picture_in_memory_and_few_shot_pictures(
    demo_server: str, offline: LLM, pictures: list[Image.Image], tmp_path: Path
) -> None:
    """What the server is shown is what this process shows its model: a JPEG file of the picture in
    memory, and few-shot pictures from a path and from memory."""
    example = tmp_path / "example.png"
    pictures[0].save(example)
    shots = [
        {"role": "user", "content": [{"type": "image", "image": str(example)}]},
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": [{"type": "image", "image": file_of(pictures[1])}]},
        {"role": "assistant", "content": "A dog."},
    ]
    asked = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "And this?"}]}
    sampling = {"temperature": 0.0, "max_tokens": 8}
    prompt = Question("caption", (*shots, asked), sampling)
    picture = picture_of("large", b"")
    task = Task(picture, pictures[2], "digest", pictures[2].size, (prompt,))
    with closing(HttpWorkers([demo_server])) as workers:
        (outcome,) = workers.run([picture], lambda picture: task)
    seen = Image.open(io.BytesIO(file_of(pictures[2], "JPEG", quality=95, subsampling=0)))
    local = [shots[0], shots[1], {"role": "user", "content": [_image(pictures[1])]}, shots[3]]
    local.append({"role": "user", "content": [_image(seen), asked["content"][1]]})
    params = offline.default_sampling_params(**sampling)
    (output,) = offline.chat(local, params, use_tqdm=False)
    assert isinstance(outcome, Captioned)
    assert outcome.answers["caption"].text == output.outputs[0].text
    assert outcome.answers["caption"].prompt_tokens == len(output.prompt_token_ids)


def _image(picture: Image.Image) -> dict[str, object]:
    return {"type": "image", "image": picture}
