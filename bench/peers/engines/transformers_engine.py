"""transformers: its own generate, over one padded batch."""

from __future__ import annotations

from typing import Any

from .loop import Answer, Options, library, run_engine

_PAD_ID = 2


class TransformersEngine:
    """See Engine."""

    def __init__(self, options: Options) -> None:
        self._torch = library("torch")
        library_ = library("transformers")
        self.version: str = library_.__version__
        self._torch.set_num_threads(options["threads"])
        self._dtype = getattr(self._torch, options["dtype"])
        kind = "AutoModelForImageTextToText" if options["vision"] else "AutoModelForCausalLM"
        load = getattr(library_, kind).from_pretrained
        self._model = load(options["model"], dtype=self._dtype).eval()
        if options["vision"]:
            self._processor = library_.AutoProcessor.from_pretrained(options["model"])

    def complete(self, prompts: list[list[int]], max_tokens: int) -> list[Answer]:
        """See Engine. Shorter prompts are padded on the left."""
        longest = max(len(prompt) for prompt in prompts)
        padding = [longest - len(prompt) for prompt in prompts]
        ids = [[_PAD_ID] * n + prompt for n, prompt in zip(padding, prompts, strict=True)]
        mask = [[0] * n + [1] * (longest - n) for n in padding]
        given = {
            "input_ids": self._torch.tensor(ids),
            "attention_mask": self._torch.tensor(mask),
        }
        return self._generate(given, [len(prompt) for prompt in prompts], max_tokens)

    def describe(self, images: list[Any], question: str, max_tokens: int) -> list[Answer]:
        """See Engine."""
        parts = [{"type": "image"}, {"type": "text", "text": question}]
        prompt = self._processor.apply_chat_template(
            [{"role": "user", "content": parts}], add_generation_prompt=True
        )
        given = self._processor(
            text=[prompt] * len(images), images=[[image] for image in images], return_tensors="pt"
        )
        given["pixel_values"] = given["pixel_values"].to(self._dtype)
        lengths = given["attention_mask"].sum(1).tolist()
        return self._generate(given, lengths, max_tokens)

    def _generate(self, given: Any, lengths: list[int], max_tokens: int) -> list[Answer]:
        limits = {"max_new_tokens": max_tokens, "min_new_tokens": max_tokens}
        with self._torch.inference_mode():
            ids = self._model.generate(**given, **limits, do_sample=False, pad_token_id=_PAD_ID)
        num_tokens = ids.shape[1] - given["input_ids"].shape[1]
        return [Answer(length, num_tokens) for length in lengths]


if __name__ == "__main__":
    run_engine(TransformersEngine)
