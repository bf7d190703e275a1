"""Asks both sides the same, and prints what differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ...core.checkpoints.find_checkpoint import find_checkpoint
from ...core.device.device import choose_device, choose_dtype
from ...core.protocol.config import EngineConfig
from ...core.protocol.errors import RequestError
from ...core.protocol.outputs import CompletionOutput
from ...core.protocol.sampling_params import SamplingParams
from ..offline.llm import LLM
from .cases import Case, make_cases
from .comparison import TOLERANCES, Finding, compare_generation, compare_ids, compare_values
from .reference import Reference
from .report import print_report


def verify_and_print(config: EngineConfig, files: Sequence[Path], max_tokens: int) -> bool:
    """Compare, print a table, and say whether nothing differs.

    Raises ConfigError or UnsupportedModelError if either side can't load the checkpoint.
    """
    checkpoint = find_checkpoint(config.model, config.mmproj)
    # What transformers has no way to load is told before the model is loaded here.
    assert checkpoint.transformers_source
    llm = LLM(**asdict(config))
    device = choose_device(config.device)
    dtype = choose_dtype(config.dtype, checkpoint.dtype, device)
    reference = Reference(checkpoint, dtype, device)
    cases = make_cases(reference.takes_images, files)
    findings: list[Finding] = []
    for case in tqdm(cases, unit="prompt", leave=False):
        findings += verify_case(llm, reference, case, max_tokens, dtype)
    return print_report(findings, f"{checkpoint.name} in {dtype} on {device}")


def verify_case(
    llm: LLM, reference: Reference, case: Case, max_tokens: int, dtype: torch.dtype
) -> Iterator[Finding]:
    """Prompt ids, image features, log-probabilities and tokens of one conversation."""
    try:
        theirs = reference.answer(case, max_tokens)
    except (ValueError, TypeError) as error:
        yield Finding("all", case.name, "skipped", note=f"transformers: {error}")
        return
    params = SamplingParams(temperature=0, max_tokens=max_tokens, ignore_eos=True, logprobs=-1)
    try:
        output = (
            llm.chat(case.messages, params)
            if reference.has_template or reference.takes_images
            else llm.generate(case.text, params)
        )[0]
    except RequestError as error:
        yield Finding("all", case.name, "DIFFERS", note=f"Octavo: {error}")
        return
    tolerance = TOLERANCES[dtype]
    ids = compare_ids("prompt ids", case.name, output.prompt_token_ids, theirs.prompt_token_ids)
    yield ids
    if theirs.image_features is not None:
        ours = torch.cat(llm.encode_images(case.messages)).float().cpu()
        yield compare_values("image features", case.name, ours, theirs.image_features, tolerance)
    if ids.result != "ok":
        yield Finding("logits", case.name, "skipped", note="the prompts differ")
        return
    answer = output.outputs[0]
    yield from compare_generation(
        case.name,
        answer.token_ids,
        _logprob_matrix(answer),
        theirs.token_ids,
        theirs.logits,
        tolerance,
    )


def _logprob_matrix(answer: CompletionOutput) -> Tensor:
    """[num_tokens, vocab_size], from entries that are sorted by likelihood."""
    rows = []
    for position in answer.logprobs or []:
        row = torch.empty(len(position.top_ids))
        row[torch.tensor(position.top_ids)] = torch.tensor(position.top_logprobs)
        rows.append(row)
    return torch.stack(rows)
