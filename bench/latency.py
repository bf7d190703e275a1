"""`octavo bench latency`: one batch, answered again and again, offline."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, replace

import numpy as np

from ..core.protocol.config import ConfigError, EngineConfig
from .offline import OfflineEngine
from .process_memory import peak_mib
from .request_record import RequestRecord, token_latencies
from .result import PERCENTILES, Result, distribution, new_result
from .workload import RequestMix, RequestShape, draw_shapes


def run(config: EngineConfig, mix: RequestMix, warmups: int, iterations: int) -> Result:
    """Each iteration's prompts and images are new, so that caches give nothing but the prefix;
    latencies are of whole batches, TTFT, TPOT and ITL of their requests.

    Raises ConfigError, UnsupportedModelError or RequestError.
    """
    if warmups < 0 or iterations < 1:
        raise ConfigError(f"num_iters must be at least 1 and num_iters_warmup 0, got "
                          f"{iterations} and {warmups}")  # fmt: skip
    settings = {**asdict(mix), "num_iters_warmup": warmups, "num_iters": iterations}
    result = new_result("latency", {**settings, "engine": asdict(config)})
    with closing(OfflineEngine(config, mix.image_size, mix.seed)) as engine:
        batches = [engine.run(_batch(mix, i)) for i in range(warmups + iterations)][warmups:]
    latencies = [max(record.end for record in batch) for batch in batches]
    records: list[RequestRecord] = [record for batch in batches for record in batch]
    percents = (10, 25, 50, 75, *PERCENTILES)
    return {
        **result,
        "avg_latency": float(np.mean(latencies)),
        **distribution("e2el", latencies),
        **token_latencies(records),
        "peak_memory_mib": peak_mib(),
        "latencies": latencies,
        "percentiles": {str(p): float(np.percentile(latencies, p)) for p in percents},
        "ttfts": [record.ttft for record in records],
        "itls": [record.itl for record in records],
        "input_lens": [record.prompt_len for record in records],
        "output_lens": [record.output_len for record in records],
    }


def _batch(mix: RequestMix, iteration: int) -> list[RequestShape]:
    """The mix with requests and images that no other iteration has."""
    first = iteration * mix.num_prompts
    return [
        replace(
            shape,
            index=first + shape.index,
            image=None if shape.image is None else first + shape.image,
        )
        for shape in draw_shapes(mix)
    ]
