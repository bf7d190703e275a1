"""The same image, given offline and posted: the same prompt, keys and pixels, the same refusal."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from octavo.app import DEMO_MODEL
from octavo.app.offline.pictures import PictureReader, load_picture
from octavo.app.serving.chat_messages import read_messages
from octavo.app.serving.intake_config import IntakeConfig
from octavo.app.serving.server_media import ServerMedia
from octavo.core.checkpoints.find_checkpoint import find_checkpoint
from octavo.core.media_pool.jobs import PrepareJob, Refused, WorkerSettings
from octavo.core.media_pool.pool_size import PoolSize
from octavo.core.media_pool.prepare_image import prepare_image
from octavo.core.media_pool.worker import Worker
from octavo.core.observe.metrics import EngineMetrics
from octavo.core.prompts.input_processor import InputProcessor
from octavo.core.protocol.config import EngineConfig
from octavo.core.protocol.errors import RequestError
from octavo.core.protocol.media_error import MediaError
from octavo.core.protocol.media_limits import MediaLimits
from octavo.core.protocol.messages import EngineFacts, EngineRequest, PixelInput
from octavo.core.protocol.sampling_params import SamplingParams
from octavo.core.protocol.shared_array import SharedArray
from octavo.core.registry.registry import get_registry
from PIL import Image

FACTS = EngineFacts(4096, 10**6, 1, 16, [], 8, "float32", "some digest")
MAX_IMAGES, MAX_BYTES = 3, 40_000
#: Of the demo model.
NUM_FEATURES = 64

Part = dict[str, Any]
#: What becomes of a request: its ids, its images' keys and their pixel values, or the refusal.
Outcome = tuple[Any, ...]


class Faces:
    """Both ways in, without the engine behind them."""

    def __init__(self, runner: asyncio.Runner, folder: Path) -> None:
        config = EngineConfig(
            model=DEMO_MODEL,
            max_image_pixels=10_000,
            max_image_bytes=MAX_BYTES,
            max_images_per_prompt=MAX_IMAGES,
            image_background=(255, 0, 0),
        )
        registry = get_registry()
        self._inputs = InputProcessor(find_checkpoint(DEMO_MODEL), registry)
        self._reader = PictureReader(config, None)
        self._runner = runner
        sources = IntakeConfig(allowed_local_media_path=folder, pool=PoolSize(1))
        self.media = runner.run(self._open(config, sources))

    async def _open(self, config: EngineConfig, sources: IntakeConfig) -> ServerMedia:
        metrics = EngineMetrics().media
        return ServerMedia.open(config, sources, get_registry(), metrics, config.model)

    def offline(self, *parts: Part) -> Outcome:
        def load() -> EngineRequest:
            rendered, named = read_messages(message(*parts), allow_local=True)
            ids = self._inputs.encode_chat(rendered)
            images = self._reader.read(named, self._inputs)
            built = self._inputs.build("r", ids, images, SamplingParams(), FACTS)
            return self._reader.load(built)

        try:
            return outcome(load())
        except RequestError as error:
            return refusal(error)

    def posted(self, *parts: Part) -> Outcome:
        async def load() -> EngineRequest:
            rendered, named = read_messages(message(*parts))
            images = await self.media.intake.read(named, "", self._inputs.size_of_features)
            ids = self._inputs.encode_chat(rendered)
            built = self._inputs.build("r", ids, images, SamplingParams(), FACTS)
            async with self.media.loader.loading(built) as loaded:
                return loaded.take(loaded.request)

        try:
            return outcome(self._runner.run(load()))
        except RequestError as error:
            return refusal(error)


def message(*parts: Part) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "What is this?"}]}]


def outcome(request: EngineRequest) -> Outcome:
    payloads = [item.payload for item in request.media]
    arrays = [p.pixels if isinstance(p, PixelInput) else p.features for p in payloads if p]
    keys = [item.media_key for item in request.media]
    return request.prompt_token_ids, keys, [array.array.tobytes() for array in arrays]


def refusal(error: RequestError) -> Outcome:
    return type(error), str(error), error.param


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="module")
def faces(folder: Path) -> Iterator[Faces]:
    with asyncio.Runner() as runner:
        both = Faces(runner, folder)
        yield both
        runner.run(both.media.close())


def noise(seed: int = 0, size: tuple[int, int] = (80, 60)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encode(picture: Image.Image, name: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, name, **options)
    return buffer.getvalue()


def shown(data: bytes, scheme: str = "data", **fields: Any) -> Part:
    url = f"{scheme}:image/x;base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url, **fields}}


def features(array: np.ndarray, **fields: Any) -> Part:
    buffer = io.BytesIO()
    np.save(buffer, array)
    given = base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image_embeds", "image_embeds": given, **fields}


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(noise(1), "JPEG", exif=exif)


VECTORS = np.random.default_rng(2).standard_normal((NUM_FEATURES, 8)).astype(np.float32)
GOOD = {
    "a picture": [shown(encode(noise()))],
    "in capitals": [shown(encode(noise()), scheme="DATA")],
    "on its side": [shown(turned())],
    "transparent": [shown(encode(Image.new("RGBA", (9, 9), (0, 0, 0, 0))))],
    "of low detail": [shown(encode(noise()), detail="low")],
    "twice, and another": [shown(encode(noise(i))) for i in (0, 1, 0)],
    "features": [features(VECTORS)],
    "features of a size": [features(VECTORS.astype(np.float16), image_size=[20, 10])],
}
BAD = {
    "truncated": ([shown(encode(noise())[:-2000])], "truncated or damaged"),
    "cut in its header": ([shown(encode(noise())[:20])], "damaged"),
    "too many pixels": ([shown(encode(Image.new("L", (101, 100))))], "101 x 100 pixels"),
    "too many bytes": ([shown(encode(noise()) * 4)], f"more than the {MAX_BYTES} allowed"),
    "no image": ([shown(b"hello")], "not an image in a known format"),
    "nothing": ([shown(b"")], "not an image in a known format"),
    "no base64": (
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64,???"}}],
        "no valid base64",
    ),
    "too many": ([shown(encode(noise()))] * (MAX_IMAGES + 1), "the request has 4 images"),
    "a name alone": (
        [{"type": "image_url", "image_url": None, "uuid": "a"}],
        "no image is kept under uuid 'a'",
    ),
    "features of infinity": ([features(np.full_like(VECTORS, np.inf))], "not finite"),
    "too few features": ([features(VECTORS[1:])], r"have shape [63, 8]"),
    "features in 64 bits": ([features(VECTORS.astype(np.float64))], "float32 or float16"),
    "features in no base64": (
        [{"type": "image_embeds", "image_embeds": "???"}],
        "the features are no valid base64",
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_good_is_the_same(faces: Faces, name: str) -> None:
    offline, posted = faces.offline(*GOOD[name]), faces.posted(*GOOD[name])
    assert offline == posted
    ids, keys, arrays = posted
    assert ids.count(3) == NUM_FEATURES * len(GOOD[name])
    assert len(set(keys)) == len(arrays) == len({str(part) for part in GOOD[name]})


@pytest.mark.parametrize("name", BAD)
def test_what_is_bad_is_refused_in_the_same_words(faces: Faces, name: str) -> None:
    parts, words = BAD[name]
    offline, posted = faces.offline(*parts), faces.posted(*parts)
    assert offline == posted
    _, text, param = posted
    assert words in text
    assert text.startswith(param)


def test_a_file_has_one_name_wherever_it_lies(faces: Faces, folder: Path) -> None:
    (folder / "picture.png").write_bytes(encode(noise(3)))
    by_path = faces.offline({"type": "image", "image": folder / "picture.png"})
    url = f"file://{folder}/picture.png"
    assert by_path == faces.posted({"type": "image_url", "image_url": {"url": url}})
    assert by_path == faces.posted(shown(encode(noise(3))))


def test_a_picture_and_an_array_in_memory_are_held_to_the_same_limits(
    faces: Faces, folder: Path
) -> None:
    """Offline alone can give them; the words are those for a file with the same fault."""
    large = Image.new("RGB", (101, 100))
    where = "messages[0].content[0].image"
    _, text, param = faces.offline({"type": "image", "image": large})
    _, wanted, _ = faces.posted(shown(encode(large)))
    assert (text.removeprefix(where), param) == (wanted.removeprefix(f"{where}_url"), where)
    with pytest.raises(RequestError, match="more than the 9 allowed"):
        load_picture(Image.new("L", (5, 2)), "x", MediaLimits(max_pixels=9))

    given = np.full_like(VECTORS, np.nan)
    assert faces.offline({"type": "image_embeds", "image_embeds": given}) == faces.posted(
        features(given)
    )
    (folder / "large.png").write_bytes(encode(noise()) * 4)
    _, text, _ = faces.offline({"type": "image", "image": folder / "large.png"})
    assert f"the image file has {len(encode(noise())) * 4} bytes, more than the" in text
    _, text, _ = faces.offline({"type": "image", "image": "/dev/zero"})
    assert f"the image file has {MAX_BYTES + 1} bytes, more than the" in text


class Failing:
    """A preprocessor with a fault."""

    def among(self, num_images: int) -> Failing:
        return self

    def preprocess(self, picture: Image.Image) -> None:
        raise ZeroDivisionError("it is not square")


def test_a_preprocessor_that_fails_is_told_in_the_same_words() -> None:
    limits, data = MediaLimits(), encode(noise())
    with pytest.raises(MediaError, match="preprocessor can't take the image: it is not") as caught:
        prepare_image(data, Failing(), limits, (0, 0, 0))  # type: ignore[arg-type]
    worker = Worker(WorkerSettings(None, "auto", limits, (0, 0, 0)))
    worker._preprocessor = Failing()  # type: ignore[assignment]
    answer = worker.answer(PrepareJob(SharedArray.of_file(data), 1, None))
    assert answer == Refused(str(caught.value))
