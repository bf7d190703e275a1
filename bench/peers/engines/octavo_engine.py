"""Octavo, through its offline class."""

from __future__ import annotations

from typing import Any

from .... import __version__
from ....app.offline.llm import LLM
from ....core.protocol.outputs import RequestOutput
from ....core.protocol.sampling_params import SamplingParams
from .loop import Answer, Options, run_engine


class OctavoEngine:
    """See Engine."""

    version = __version__

    def __init__(self, options: Options) -> None:
        names = ("dtype", "quantization", "max_model_len", "max_num_seqs")
        self._llm = LLM(options["model"], **{name: options[name] for name in names})

    def complete(self, prompts: list[list[int]], max_tokens: int) -> list[Answer]:
        """See Engine."""
        given = [{"prompt_token_ids": prompt} for prompt in prompts]
        return _answers(self._llm.generate(given, _params(max_tokens)))

    def describe(self, images: list[Any], question: str, max_tokens: int) -> list[Answer]:
        """See Engine."""
        conversations = [_conversation(image, question) for image in images]
        return _answers(self._llm.chat(conversations, _params(max_tokens)))


def _params(max_tokens: int) -> SamplingParams:
    return SamplingParams(temperature=0, max_tokens=max_tokens, ignore_eos=True)


def _conversation(image: Any, question: str) -> list[dict[str, Any]]:
    parts = [{"type": "image", "image": image}, {"type": "text", "text": question}]
    return [{"role": "user", "content": parts}]


def _answers(outputs: list[RequestOutput]) -> list[Answer]:
    return [Answer(len(o.prompt_token_ids), len(o.outputs[0].token_ids)) for o in outputs]


if __name__ == "__main__":
    run_engine(OctavoEngine)
