"""What became of one request, whoever measured it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from .result import Result, distribution


@dataclass
class RequestRecord:
    """Times are in seconds from the start of the run.

    arrival: when the request was meant to be sent, which latencies count from; sent: when it was.
    token_times: when each piece of the answer came; a piece is a token, or several that came as
        one.
    end: when the answer was complete, or the request had failed; error: why it failed.
    """

    arrival: float
    sent: float = 0.0
    token_times: list[float] = field(default_factory=list)
    end: float = 0.0
    prompt_len: int = 0
    output_len: int = 0
    text: str = ""
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether the answer is complete."""
        return not self.error

    @property
    def queue_time(self) -> float:
        """Seconds from arrival until it was sent."""
        return self.sent - self.arrival

    @property
    def ttft(self) -> float:
        """Seconds from arrival to the first token, or to the end of an empty answer."""
        return (self.token_times[0] if self.token_times else self.end) - self.arrival

    @property
    def e2el(self) -> float:
        """Seconds from arrival to the end."""
        return self.end - self.arrival

    @property
    def tpot(self) -> float:
        """Seconds for each token after the first; 0 if there is none."""
        return (self.e2el - self.ttft) / (self.output_len - 1) if self.output_len > 1 else 0.0

    @property
    def itl(self) -> list[float]:
        """Seconds between the pieces of the answer."""
        return [later - earlier for earlier, later in itertools.pairwise(self.token_times)]


def token_latencies(records: Sequence[RequestRecord]) -> Result:
    """Distributions of TTFT, TPOT and ITL of complete answers, named as in `vllm bench serve`."""
    done = [record for record in records if record.ok]
    return {
        **distribution("ttft", [r.ttft for r in done]),
        **distribution("tpot", [r.tpot for r in done if r.output_len > 1]),
        **distribution("itl", [gap for r in done for gap in r.itl]),
    }


def token_throughput(records: Sequence[RequestRecord], duration: float) -> Result:
    """Counts, and rates over `duration` seconds, of complete answers; named as in `vllm bench
    serve`."""
    done = [record for record in records if record.ok]
    total_input = sum(record.prompt_len for record in done)
    total_output = sum(record.output_len for record in done)
    return {
        "duration": duration,
        "completed": len(done),
        "failed": len(records) - len(done),
        "total_input_tokens": total_input,
        "total_output_tokens": total_output,
        "request_throughput": len(done) / duration,
        "output_throughput": total_output / duration,
        "total_token_throughput": (total_input + total_output) / duration,
    }
