"""What a job says of its output, beside where it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def _wrote_nothing(path: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """prompts: their names, in order.
    fields: what of a row is written, in order, as --fields names it; by default its file, texts
        and error. An error is written even if it isn't among them, unless failures_elsewhere.
    columns: of the tables that pictures come from; None while they can't be known.
    sidecars: endings of files beside each picture, as --sidecar gives them: ".txt", or
        ".txt=tags" for another prompt's text than the first one's.
    shard_size: samples in a WebDataset shard.
    overwrite: what is there is replaced.
    goes_on: what is there is gone on with: a journal knows it, or what is missing is added to it.
    failures_elsewhere: rows of pictures that failed don't come to this output.
    flag: by which the user names the output, for messages.
    is_ours: whether the job, in this run or an earlier one, wrote the sidecar of the picture with
        this path. Several threads may call it at once.
    """

    prompts: tuple[str, ...]
    fields: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = ()
    sidecars: tuple[str, ...] = ()
    shard_size: int = 10_000
    overwrite: bool = False
    goes_on: bool = False
    failures_elsewhere: bool = False
    flag: str = "-o"
    is_ours: Callable[[str], bool] = _wrote_nothing
