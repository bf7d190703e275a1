"""A bar that tells how many requests of a call have ended."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

#: Whether to show a bar, or what makes one, such as functools.partial(tqdm, leave=False).
UseTqdm = bool | Callable[..., Any]


@contextmanager
def progress_bar(use_tqdm: UseTqdm, total: int) -> Iterator[Callable[[int], None]]:
    """What is to be told of requests that have ended. True shows a bar where the standard error is
    a terminal, or in a notebook; a callable is given `total`, `desc` and `dynamic_ncols`."""
    if use_tqdm is False:
        yield lambda count: None
        return
    make = use_tqdm if callable(use_tqdm) else _automatic
    with closing(make(total=total, desc="Processed prompts", dynamic_ncols=True)) as bar:
        yield lambda count: bar.update(count) if count else None


def _automatic(**options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of notebooks without widgets
        from tqdm.auto import tqdm
    return tqdm(disable=None, **options)
