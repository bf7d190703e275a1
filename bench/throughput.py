"""`octavo bench throughput`: requests that are all there at once, offline."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict

from ..core.protocol.config import EngineConfig
from .offline import OfflineEngine
from .process_memory import peak_mib
from .request_record import token_throughput
from .result import Result, new_result
from .workload import RequestMix, draw_shapes, warm_up_shape


def run(config: EngineConfig, mix: RequestMix) -> Result:
    """Answer them once, after a first request that warms up; peak_memory_mib is this process's.

    Raises ConfigError, UnsupportedModelError or RequestError.
    """
    result = new_result("throughput", {**asdict(mix), "engine": asdict(config)})
    with closing(OfflineEngine(config, mix.image_size, mix.seed)) as engine:
        engine.run([warm_up_shape(mix, 0)])
        records = engine.run(draw_shapes(mix))
    duration = max(record.end for record in records)
    return {
        **result,
        **token_throughput(records, duration),
        "peak_memory_mib": peak_mib(),
        "input_lens": [record.prompt_len for record in records],
        "output_lens": [record.output_len for record in records],
    }
