"""Requests of any number at once: prepared while others run, answered in order."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import msgspec
import pytest
from octavo import LLM, RequestError, SamplingParams
from octavo.app.offline import request_stream
from octavo.core.protocol.errors import RequestTimeoutError
from octavo.core.protocol.messages import EngineRequest
from octavo.core.protocol.outputs import RequestOutput
from PIL import Image

PARAMS = SamplingParams(temperature=0, max_tokens=4)


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch) -> LLM:
    monkeypatch.setattr(request_stream, "WINDOW", 3)
    return LLM()


def question(picture: Image.Image, number: int) -> list[dict[str, object]]:
    text = {"type": "text", "text": f"What is this, {number}?"}
    return [{"role": "user", "content": [{"type": "image", "image": picture}, text]}]


def text_of(output: RequestOutput | Exception) -> str:
    assert not isinstance(output, Exception)
    return output.outputs[0].text


def assert_nothing_is_held(llm: LLM) -> None:
    llm._core.check_integrity()
    assert llm.num_free_blocks == llm._core.facts.num_blocks


def test_no_answer_waits_for_items_that_are_yet_to_come(
    llm: LLM, pictures: list[Image.Image]
) -> None:
    given: list[int] = []

    def items() -> Iterator[int | None]:
        for number in range(3):
            yield number
            while len(given) <= number:
                yield None

    def prepare(number: int) -> tuple[int, list[EngineRequest]]:
        return number, [llm.prepare_chat(question(pictures[0], number), PARAMS)] * (number != 1)

    for number, outputs in llm.stream_groups(
        items(), prepare, llm.share_processors(), lambda: False, 2
    ):
        given.append(number)
        assert len(outputs) == (number != 1)
    assert given == [0, 1, 2]


def test_answers_come_in_order_and_errors_in_their_place(
    llm: LLM, pictures: list[Image.Image]
) -> None:
    def prepare(number: int) -> EngineRequest:
        if number % 4 == 1:
            raise RequestError(f"no {number}")
        params = SamplingParams(temperature=0, max_tokens=1 + (7 * number) % 5)
        return llm.prepare_chat(question(pictures[number % 2], number), params)

    found = list(llm.stream(range(11), prepare))
    errors = [str(error) for error in found if isinstance(error, Exception)]
    assert errors == ["no 1", "no 5", "no 9"]
    for number, output in enumerate(found):
        if number % 4 == 1:
            continue
        assert not isinstance(output, Exception)
        (alone,) = llm.run([prepare(number)])
        assert output.outputs[0].token_ids == alone.outputs[0].token_ids
    assert_nothing_is_held(llm)


def test_one_is_prepared_while_another_runs(
    llm: LLM, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    stepped, step = threading.Event(), llm._core.step

    def tell_and_step() -> object:
        stepped.set()
        return step()

    def prepare(number: int) -> EngineRequest:
        assert number == 0 or stepped.wait(30)
        return llm.prepare_chat(question(pictures[0], number), PARAMS)

    monkeypatch.setattr(llm._core, "step", tell_and_step)
    assert len(list(llm.stream(range(3), prepare))) == 3


def test_what_fails_in_the_engine_ends_alone(
    llm: LLM, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = llm._core._executor._runner._model
    encode = model.encode_images

    def refuse_dark(images: list[object], layouts: object) -> object:
        if any(image.std() == 0 for image in images):
            raise RuntimeError("too dark")
        return encode(images, layouts)

    monkeypatch.setattr(model, "encode_images", refuse_dark)
    shown = [pictures[0], Image.new("RGB", (40, 40)), pictures[1]]
    found = list(llm.stream(range(3), lambda i: llm.prepare_chat(question(shown[i], i), PARAMS)))
    assert [isinstance(output, Exception) for output in found] == [False, True, False]
    assert "too dark" in str(found[1])
    assert_nothing_is_held(llm)


def test_a_tower_that_takes_one_image_at_a_time_fails_none(
    llm: LLM,
    pictures: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = llm._core._executor._runner._model
    encode = model.encode_images
    calls = []

    def refuse_many(images: list[object], layouts: object) -> object:
        calls.append(len(images))
        if len(images) > 1:
            raise RuntimeError("one at a time")
        return encode(images, layouts)

    monkeypatch.setattr(model, "encode_images", refuse_many)
    for shown in (pictures, [picture.rotate(90) for picture in pictures]):
        requests = [llm.prepare_chat(question(picture, 0), PARAMS) for picture in shown]
        assert len(llm.run(requests)) == 3
    assert calls == [3, 1, 1, 1, 1, 1, 1]
    assert caplog.text.count("from now on they are encoded one by one") == 1


def test_a_stream_that_is_left_holds_nothing(
    llm: LLM, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, received, finished = [], [], []
    monkeypatch.setattr(llm._events, "received", lambda r: received.append(r.request_id))
    monkeypatch.setattr(llm._events, "finished", lambda r, _: finished.append(r.request_id))

    def prepare(number: int) -> EngineRequest:
        prepared.append(number)
        params = SamplingParams(temperature=0, max_tokens=4 + 40 * number, ignore_eos=True)
        return llm.prepare_chat(question(pictures[0], number), params)

    outputs = llm.stream(range(1000), prepare)
    next(outputs)
    outputs.close()
    assert len(prepared) < 20
    assert len(received) > 1
    assert sorted(received) == sorted(finished)
    assert_nothing_is_held(llm)


def test_a_slow_request_bounds_how_far_the_others_go(llm: LLM, pictures: list[Image.Image]) -> None:
    prepared: list[int] = []

    def prepare(number: int) -> EngineRequest:
        prepared.append(number)
        length = 60 if number == 0 else 1
        params = SamplingParams(temperature=0, max_tokens=length, ignore_eos=True)
        return llm.prepare_chat(question(pictures[0], number), params)

    outputs = llm.stream(range(100), prepare)
    next(outputs)
    # Twice the window of three have begun, and three more wait.
    assert len(prepared) <= 9
    assert len(list(outputs)) == 99


def test_the_model_is_free_between_two_outputs(llm: LLM, pictures: list[Image.Image]) -> None:
    def prepare(number: int) -> EngineRequest:
        params = SamplingParams(temperature=0, max_tokens=2 + 6 * number, ignore_eos=True)
        return llm.prepare_chat(question(pictures[number % 2], number), params)

    wanted = [llm.run([prepare(number)])[0].outputs[0].token_ids for number in range(4)]
    found = []
    others = llm.stream(range(3), prepare)
    for output in llm.stream(range(4), prepare):
        assert not isinstance(output, Exception)
        found.append(output.outputs[0].token_ids)
        (between,) = llm.run([prepare(1)])
        assert between.outputs[0].token_ids == wanted[1]
        next(others, None)
    assert found == wanted
    assert_nothing_is_held(llm)


def test_preparing_may_use_the_model(llm: LLM, pictures: list[Image.Image]) -> None:
    def prepare(number: int) -> EngineRequest:
        first = question(pictures[0], number)
        (answer,) = llm.chat(first, PARAMS)
        said = [*first, {"role": "assistant", "content": answer.outputs[0].text}]
        return llm.prepare_chat([*said, {"role": "user", "content": "Why?"}], PARAMS)

    wanted = [llm.run([prepare(number)])[0].outputs[0].text for number in range(6)]
    found = list(llm.stream(range(6), prepare))
    assert [text_of(output) for output in found] == wanted
    assert_nothing_is_held(llm)


def test_time_spent_waiting_for_the_engine_does_not_count(
    llm: LLM, pictures: list[Image.Image]
) -> None:
    def prepare(number: int) -> EngineRequest:
        request = llm.prepare_chat(question(pictures[0], number), PARAMS)
        return msgspec.structs.replace(request, arrival_time=request.arrival_time - 100, timeout=50)

    assert not any(isinstance(output, Exception) for output in llm.stream(range(3), prepare))


def test_the_other_answers_of_a_failed_request_end_with_it() -> None:
    llm = LLM(max_num_seqs=1, queue_timeout=0.01)
    with pytest.raises(RequestTimeoutError):
        llm.generate("Once", SamplingParams(n=2, max_tokens=200, ignore_eos=True))
    assert_nothing_is_held(llm)
    (output,) = llm.generate("Once", PARAMS)
    assert output.outputs[0].token_ids


def test_a_request_that_is_given_twice_fails_once(llm: LLM) -> None:
    request = llm.prepare_chat([{"role": "user", "content": "Hello"}], PARAMS)
    with pytest.raises(RequestError, match="in use"):
        llm.run([request, request])
    assert_nothing_is_held(llm)
    assert llm.run([request])[0].finished
