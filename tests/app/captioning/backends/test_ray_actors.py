"""Actors of Ray answer as the same model in this process, and lose no picture when they die."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from captioning_tasks import coloured, file_of, names, picture_of, question, reader
from octavo import LLM
from octavo.app import DEMO_MODEL
from octavo.app.captioning.backends import ray_cluster
from octavo.app.captioning.backends.ray_actors import MAX_DEATHS, RayActors
from octavo.app.captioning.backends.sent_task import Answered, SentTask
from octavo.app.captioning.picture import Picture
from octavo.app.captioning.task import Answer, Captioned, Failed, Outcome
from octavo.core.protocol.config import ConfigError, EngineConfig
from PIL import Image
from process_tree import descendants

ray = pytest.importorskip("ray")

FACTS = {"model": "demo"}
BATCH = 4
#: On this machine's one node, which share its processors.
NUM_ACTORS = min(2, os.cpu_count() or 1)


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    """Ray on this machine, for all of these tests, so that it is started once."""
    cluster = ray_cluster.RayCluster("local")
    cluster.connect()
    yield
    cluster.close()
    assert not ray.is_initialized()


def actors(model: str = DEMO_MODEL, number: int = NUM_ACTORS) -> RayActors:
    config = EngineConfig.of(model, {"dtype": "float32", "kv_cache_memory": 32 * 2**20})
    return RayActors(config, FACTS, actors_per_node=number, batch_size=BATCH)


def processes_of_actors() -> list[int]:
    """By the names that Ray gives them."""
    return [
        process
        for process in descendants(os.getpid())
        if Path(f"/proc/{process}/cmdline").read_bytes().startswith(b"ray::ActorModel")
    ]


def test_answers_are_those_of_the_model_itself_though_an_actor_is_killed(
    offline: LLM, pictures: list[Image.Image], capfd: pytest.CaptureFixture[str]
) -> None:
    """Of 40 pictures, one of them broken, with two prompts each; an actor is killed once the first
    has been answered, of which Ray prints nothing."""
    files = [file_of(pictures[index % len(pictures)]) + b"%d" % index for index in range(40)]
    files[5] = files[5][:200]
    source = [picture_of(f"picture {index}", data) for index, data in enumerate(files)]
    prompts = [question(), question("Which colour is it?", "colour")]
    with closing(actors()) as workers:
        outcomes = workers.run(source, reader(*prompts))
        given = [next(outcomes)]
        os.kill(processes_of_actors()[0], signal.SIGKILL)
        given += outcomes
        assert workers.progress()["actors_lost"] == 1
        assert workers.facts == FACTS
    assert capfd.readouterr().out == ""
    assert names(given) == [picture.name for picture in source]
    failed = given[5]
    assert isinstance(failed, Failed)
    assert failed.error.startswith("the image is truncated or damaged")
    expected = [answers_of(offline, picture) for picture in pictures]
    for index, outcome in enumerate(given):
        if index != 5:
            assert isinstance(outcome, Captioned)
            assert dict(outcome.answers) == expected[index % len(pictures)]
    assert ray.is_initialized()  # as it was before


def answers_of(offline: LLM, picture: Image.Image) -> dict[str, Answer]:
    answers = {}
    params = offline.default_sampling_params(temperature=0.0, max_tokens=8)
    for name, text in {
        "caption": "What is in this picture?",
        "colour": "Which colour is it?",
    }.items():
        parts = [{"type": "image", "image": picture}, {"type": "text", "text": text}]
        (output,) = offline.chat([{"role": "user", "content": parts}], params, use_tqdm=False)
        (said,) = output.outputs
        num_tokens = len(output.prompt_token_ids), len(said.token_ids)
        answers[name] = Answer(said.text, str(said.finish_reason), *num_tokens)
    return answers


def test_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    """The error is the engine's own, and says where."""
    message = f"^on [0-9.]+: .*{tmp_path}"
    with closing(actors(str(tmp_path), 1)) as workers, pytest.raises(ConfigError, match=message):
        workers.start()


def define_model() -> type:
    """Of actors without a model, which are made quickly, and die of "poison". Defined here, as
    Ray then sends the class itself: actors can't import a file of tests."""

    class Model:
        def __init__(self, settings: dict[str, object]) -> None:
            pass

        def load(self) -> None:
            """Nothing."""

        def answer(self, tasks: Sequence[SentTask]) -> list[Answered]:
            if any(isinstance(task.content, bytes) and b"poison" in task.content for task in tasks):
                os.kill(os.getpid(), signal.SIGKILL)
            return [
                {
                    q.name: Answer(q.messages[0]["content"][1]["text"], "stop", 3, 1)
                    for q in t.questions
                }
                for t in tasks
            ]

    return Model


def test_picture_that_kills_actors_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were sent with it are answered."""
    monkeypatch.setattr(ray_cluster, "ActorModel", define_model())
    files = [coloured(index) for index in range(30)]
    files[9] += b"poison"
    source = [picture_of(f"picture {index}", data) for index, data in enumerate(files)]
    with closing(actors()) as workers:
        outcomes = list(workers.run(source, reader(question("{name}"))))
        assert workers.progress()["actors_lost"] == 1 + MAX_DEATHS
    failed = outcomes[9]
    assert isinstance(failed, Failed)
    assert f"{MAX_DEATHS} actors died that had it alone" in failed.error
    texts = [
        outcome.answers["caption"].text for outcome in outcomes if isinstance(outcome, Captioned)
    ]
    assert texts == [picture.name for picture in source if picture is not source[9]]


def test_source_is_read_no_further_than_a_window_and_drained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray_cluster, "ActorModel", define_model())
    taken: list[int] = []

    def source() -> Iterator[Picture]:
        for index in range(10_000):
            taken.append(index)
            yield picture_of(f"picture {index}", coloured(index))

    with closing(actors()) as workers:
        outcomes = workers.run(source(), reader(question("{name}")))
        given: list[Outcome] = [next(outcomes) for _ in range(20)]
        workers.drain()
        given += outcomes
    window = NUM_ACTORS * BATCH * 3
    assert len(taken) <= 20 + window
    numbers = [int(name.split()[1]) for name in names(given)]
    assert numbers[:20] == list(range(20))
    assert numbers == sorted(set(numbers))
    assert numbers[-1] < len(taken)
