"""vLLM's CPU build, through its offline class, in one process."""

from __future__ import annotations

import os
from typing import Any

from .loop import Answer, Options, library, run_engine


class VllmEngine:
    """See Engine."""

    def __init__(self, options: Options) -> None:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        self._vllm = library("vllm")
        self.version: str = self._vllm.__version__
        names = ("model", "dtype", "max_model_len", "max_num_seqs")
        images = {"limit_mm_per_prompt": {"image": 1}} if options["vision"] else {}
        self._llm = self._vllm.LLM(seed=0, **images, **{name: options[name] for name in names})

    def complete(self, prompts: list[list[int]], max_tokens: int) -> list[Answer]:
        """See Engine."""
        return self._run([{"prompt_token_ids": prompt} for prompt in prompts], max_tokens)

    def describe(self, images: list[Any], question: str, max_tokens: int) -> list[Answer]:
        """See Engine."""
        parts = [{"type": "image"}, {"type": "text", "text": question}]
        prompt = self._llm.get_tokenizer().apply_chat_template(
            [{"role": "user", "content": parts}], add_generation_prompt=True, tokenize=False
        )
        given = [{"prompt": prompt, "multi_modal_data": {"image": image}} for image in images]
        return self._run(given, max_tokens)

    def _run(self, prompts: list[dict[str, Any]], max_tokens: int) -> list[Answer]:
        params = self._vllm.SamplingParams(temperature=0, max_tokens=max_tokens, ignore_eos=True)
        outputs = self._llm.generate(prompts, params, use_tqdm=False)
        return [Answer(len(o.prompt_token_ids), len(o.outputs[0].token_ids)) for o in outputs]


if __name__ == "__main__":
    run_engine(VllmEngine)
