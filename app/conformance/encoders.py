"""An encoder's promises, held against a tiny tower with random weights."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from ...core.checkpoints.hf_config import complete_config
from ...core.contracts.specs import EncoderExample, EncoderSpec, ImageSize, load_object
from ...core.models.loader import build_context, choose_kernels
from ...core.registry.registry import Registry
from .finding import Finding, attempt, check_class

_SIZES = ((40, 30), (300, 200), (64, 64), (50, 170))
_ENCODER, _PREPROCESSOR = ("map_weight", "__call__"), ("num_tokens", "preprocess", "fingerprint")


def check_encoder(spec: EncoderSpec, registry: Registry) -> Iterator[Finding]:
    """Everything that can be tried without its checkpoint."""
    subject = f"encoder {spec.name}"
    loads = [
        *check_class(subject, "class", spec.load, _ENCODER),
        *check_class(subject, "preprocessor", spec.preprocessor, _PREPROCESSOR),
    ]
    yield from loads
    if spec.example is None:
        yield Finding(subject, "tower", "skipped", "the spec has no example")
    if spec.example is None or any(finding.result == "FAILED" for finding in loads):
        return
    example = spec.example
    checks: dict[str, Callable[[], str]] = {
        "token counts": partial(_token_counts, spec, example, registry),
        "several images": partial(_several_images, spec, example, registry),
        "preprocessing": partial(_preprocessing, spec, example),
        "fingerprint": partial(_fingerprint, spec, example),
    }
    for name, check in checks.items():
        yield attempt(subject, name, check)
    if spec.reference is None:
        yield Finding(subject, "parity", "skipped", "the spec names no reference")
    else:
        yield attempt(subject, "parity", partial(_parity, spec, example, registry))


def fingerprint(preprocessor: str, vision_config: Any, processor_config: Any) -> str:
    """That of a preprocessor, constructed anew."""
    made: str = load_object(preprocessor)(vision_config, processor_config).fingerprint()
    return made


def _token_counts(spec: EncoderSpec, example: EncoderExample, registry: Registry) -> str:
    preprocessor, tower = _preprocessor(spec, example), _tower(spec, example, registry)
    for size in _SIZES:
        done = preprocessor.preprocess(_picture(size))
        with torch.inference_mode():
            pixels = torch.from_numpy(np.array(done.pixel_values))
            (features,) = tower([pixels], [done.layout])
        promised = preprocessor.num_tokens(ImageSize(*size))
        if features.shape != (promised, tower.hidden_size):
            raise ValueError(
                f"a picture of {size[0]} x {size[1]} gave features {list(features.shape)}, but "
                f"num_tokens is {promised} and hidden_size {tower.hidden_size}"
            )
    return f"{len(_SIZES)} sizes"


def _several_images(spec: EncoderSpec, example: EncoderExample, registry: Registry) -> str:
    preprocessor, tower = _preprocessor(spec, example), _tower(spec, example, registry)
    done = [preprocessor.preprocess(_picture(size)) for size in _SIZES]
    pixels = [torch.from_numpy(np.array(image.pixel_values)) for image in done]
    layouts = [image.layout for image in done]
    with torch.inference_mode():
        together = tower(pixels, layouts)
        alone = [tower([p], [layout])[0] for p, layout in zip(pixels, layouts, strict=True)]
    if len(together) != len(alone):
        raise ValueError(f"{len(alone)} images in one call gave features of {len(together)}")
    for ours, theirs in zip(together, alone, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    return f"{len(_SIZES)} at once"


def _preprocessing(spec: EncoderSpec, example: EncoderExample) -> str:
    first, second = (_preprocessor(spec, example).preprocess(_picture((61, 47))) for _ in range(2))
    if first.pixel_values.dtype != np.float32:
        raise TypeError(f"pixel values are {first.pixel_values.dtype}, not float32")
    same = np.array_equal(first.pixel_values, second.pixel_values)
    if not same or first.layout != second.layout:
        raise ValueError("the same picture gave other pixel values the second time")
    return ""


def _fingerprint(spec: EncoderSpec, example: EncoderExample) -> str:
    config = complete_config(example.vision_config)
    arguments = (spec.preprocessor, config, example.processor_config)
    here = fingerprint(*arguments)
    code = (
        f"import json, sys; from {__name__} import fingerprint;"
        "print(fingerprint(*json.load(sys.stdin)))"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    if elsewhere != here:
        raise ValueError("another process gives another fingerprint")
    other = {**example.processor_config, "image_mean": [0.1, 0.2, 0.3]}
    if fingerprint(spec.preprocessor, config, other) == here:
        raise ValueError("another image_mean gives the same fingerprint")
    return "stable"


def _parity(spec: EncoderSpec, example: EncoderExample, registry: Registry) -> str:
    assert spec.reference is not None
    tower = _tower(spec, example, registry)
    done = _preprocessor(spec, example).preprocess(_picture((90, 70)))
    pixels = torch.from_numpy(np.array(done.pixel_values))
    with torch.inference_mode():
        (ours,) = tower([pixels], [done.layout])
        theirs = load_object(spec.reference)(tower, pixels)
    if not theirs.std() > 0:
        raise ValueError("the features of a tower with random weights are all equal")
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    return f"largest difference {(ours - theirs).abs().max().item():.1e}"


def _preprocessor(spec: EncoderSpec, example: EncoderExample) -> Any:
    config = complete_config(example.vision_config)
    return load_object(spec.preprocessor)(config, example.processor_config)


def _tower(spec: EncoderSpec, example: EncoderExample, registry: Registry) -> Any:
    torch.manual_seed(0)
    place = (registry, torch.device("cpu"), torch.float32)
    context = build_context(*place, choose_kernels(*place))
    config = complete_config(example.vision_config)
    tower: nn.Module = load_object(spec.load)(config, (), context)
    for parameter in tower.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, mean=1.0, std=0.1)
        else:
            # So that activations keep their size from layer to layer.
            nn.init.normal_(parameter, std=(len(parameter) / parameter.numel()) ** 0.5)
    return tower.eval().requires_grad_(False)


def _picture(size: tuple[int, int]) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise)
