"""RequestOutput.image_sources and the times beside them, of a model in this process."""

from __future__ import annotations

import numpy as np
from octavo import LLM, SamplingParams
from octavo.core.encoder_store.features import Features
from PIL import Image


def test_memory_store_and_engine_are_told_apart() -> None:
    llm = LLM(
        dtype="float32",
        kv_cache_memory=64 * 2**20,
        encoder_cache="memory://?max_bytes=10000000",
        enable_prefix_caching=False,
    )
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    stored, new = map(Image.fromarray, pixels)
    messages = [{"role": "user", "content": [{"type": "image", "image": i} for i in (stored, new)]}]
    params = SamplingParams(max_tokens=2, ignore_eos=True)
    # As if an engine had written it; that of an LLM writes to another store of its process.
    features = llm.encode_images(messages)[0].numpy()
    key = llm.prepare_chat(messages, params).media[0].media_key
    tier = llm._pictures._tier
    assert tier is not None
    tier.put(key, Features("float32", features))
    (output,) = llm.chat(messages, params)
    assert output.image_sources == ["memory", "encoded"]
    took = output.metrics
    assert took.images > 0
    assert took.finished > took.submitted
    (output,) = llm.chat(messages, params)
    assert output.image_sources == ["engine", "engine"]
    llm.close()
