"""`octavo bench serve`: an open-loop load against a server."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from ..core.protocol.config import ConfigError
from .goodput import Objective, count_good
from .load_config import LoadConfig
from .process_memory import memory_of_tree
from .request_record import RequestRecord, token_latencies, token_throughput
from .result import Result, distribution, new_result
from .server_process import ServerProcess
from .serving_load import peak_concurrency, run_load
from .stream_client import StreamClient
from .workload import RequestMix

_SHOWN_ERRORS = 5


async def run(
    base_url: str | None,
    server_arguments: Sequence[str],
    mix: RequestMix,
    load: LoadConfig,
    objectives: Sequence[Objective],
) -> Result:
    """Measure a server at base_url, or one that is started for it with these arguments.

    Raises ConfigError if there is no server, or it refuses even the first request.
    """
    if base_url is not None:
        if server_arguments:
            raise ConfigError("--base-url names a server that runs: it takes no arguments of one")
        return await _measure(base_url, [], mix, load, objectives)
    server = ServerProcess(*server_arguments)
    try:
        await server.until_healthy()
        url = f"http://127.0.0.1:{server.port}"
        result = await _measure(url, server_arguments, mix, load, objectives)
        memory = sum(process.pss for process in memory_of_tree(server.process.pid))
        return {**result, "server_pss_mib": memory}
    finally:
        server.stop()


async def _measure(
    url: str,
    server_arguments: Sequence[str],
    mix: RequestMix,
    load: LoadConfig,
    objectives: Sequence[Objective],
) -> Result:
    settings = {
        **asdict(mix),
        **_finite(asdict(load)),
        "goodput": dict(objectives),
        "server_arguments": list(server_arguments),
    }
    result = new_result("serve", settings)
    client = StreamClient(url, load.request_timeout)
    try:
        model = await client.first_model()
        records = await run_load(client, model, mix, load)
    finally:
        await client.close()
    _print_errors(records)
    heading = {
        "model_id": model,
        "num_prompts": mix.num_prompts,
        **_finite(
            {
                "request_rate": load.request_rate,
                "burstiness": load.burstiness,
                "max_concurrency": load.max_concurrency,
            }
        ),
    }
    return {**result, **heading, **measurements(records, objectives)}


def measurements(records: Sequence[RequestRecord], objectives: Sequence[Objective]) -> Result:
    """All that is computed from the records, with the names of `vllm bench serve`; the lists have
    one entry a request, failed ones included."""
    duration = max(record.end for record in records)
    good = count_good(records, objectives) / duration if objectives else None
    return {
        **token_throughput(records, duration),
        "request_goodput": good,
        "max_output_tokens_per_s": _busiest_second(records),
        "max_concurrent_requests": peak_concurrency(records),
        **token_latencies(records),
        **distribution("e2el", [r.e2el for r in records if r.ok]),
        **distribution("client_queue_time", [r.queue_time for r in records]),
        "arrival_times": [r.arrival for r in records],
        "start_times": [r.sent for r in records],
        "input_lens": [r.prompt_len for r in records],
        "output_lens": [r.output_len for r in records],
        "ttfts": [r.ttft if r.ok else None for r in records],
        "itls": [r.itl for r in records],
        "latencies": [r.e2el if r.ok else None for r in records],
        "generated_texts": [r.text for r in records],
        "errors": [r.error for r in records],
    }


def _busiest_second(records: Sequence[RequestRecord]) -> float:
    """The most pieces of complete answers that came in one second of the run."""
    seconds = Counter(int(time) for r in records if r.ok for time in r.token_times)
    return float(max(seconds.values(), default=0))


def _print_errors(records: Sequence[RequestRecord]) -> None:
    errors = Counter(record.error for record in records if not record.ok)
    for error, count in errors.most_common(_SHOWN_ERRORS):
        print(f"{count} requests failed: {error}")
    if len(errors) > _SHOWN_ERRORS:
        print(f"… and in {len(errors) - _SHOWN_ERRORS} other ways")


def _finite(values: dict[str, float | None]) -> dict[str, float | str | None]:
    """JSON has no infinity."""
    return {k: "inf" if v is not None and math.isinf(v) else v for k, v in values.items()}
