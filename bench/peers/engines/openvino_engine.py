"""OpenVINO GenAI: its pipelines for one request, and for many, over a model in its own format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .loop import Answer, Options, library, run_engine

_CACHE_GIB = 2


class OpenVinoEngine:
    """See Engine. Holds one pipeline at a time."""

    def __init__(self, options: Options) -> None:
        self._genai = library("openvino_genai")
        self._tensor = library("openvino").Tensor
        self._array = library("numpy").array
        self.version: str = self._genai.__version__.partition("-")[0]
        self._model = options["model"]
        self._max_num_seqs = options["max_num_seqs"]
        self._settings = {"INFERENCE_NUM_THREADS": options["threads"]}
        self._template = options["prompt"]
        self._pipelines: dict[str, Any] = {}
        self._one_request(options["vision"])

    def complete(self, prompts: list[list[int]], max_tokens: int) -> list[Answer]:
        """See Engine."""
        given = [self._tensor(self._array([prompt])) for prompt in prompts]
        lengths = [len(prompt) for prompt in prompts]
        if len(prompts) == 1:
            output = self._one_request(vision=False).generate(given[0], self._config(max_tokens))
            return [Answer(lengths[0], len(output.tokens[0]))]
        configs = [self._config(max_tokens)] * len(prompts)
        outputs = self._many_requests().generate(given, configs)
        return [
            Answer(length, len(output.m_generation_ids[0]))
            for length, output in zip(lengths, outputs, strict=True)
        ]

    def describe(self, images: list[Any], question: str, max_tokens: int) -> list[Answer]:
        """See Engine."""
        prompt = self._template.replace("<image>", "<ov_genai_image_0>")
        given = [self._tensor(self._array(image)[None]) for image in images]
        config = self._config(max_tokens)
        if len(given) == 1:
            pipeline = self._one_request(vision=True)
            metrics = pipeline.generate(prompt, images=given, generation_config=config).perf_metrics
            return [Answer(metrics.get_num_input_tokens(), metrics.get_num_generated_tokens())]
        pipeline = self._many_requests()
        handles = [pipeline.add_request(i, prompt, [x], config) for i, x in enumerate(given)]
        while pipeline.has_non_finished_requests():
            pipeline.step()
        # This pipeline does not tell how long its prompts are.
        return [Answer(0, len(handle.read_all()[0].generated_ids)) for handle in handles]

    def _config(self, max_tokens: int) -> Any:
        config = self._genai.GenerationConfig()
        config.max_new_tokens = config.min_new_tokens = max_tokens
        config.ignore_eos = True
        config.do_sample = False
        config.apply_chat_template = False
        return config

    def _one_request(self, vision: bool) -> Any:
        kind = self._genai.VLMPipeline if vision else self._genai.LLMPipeline
        return self._pipeline("one", lambda: kind(self._model, "CPU", **self._settings))

    def _many_requests(self) -> Any:
        scheduler = self._genai.SchedulerConfig()
        scheduler.cache_size = _CACHE_GIB
        scheduler.max_num_seqs = self._max_num_seqs
        scheduler.max_num_batched_tokens = 2048
        scheduler.dynamic_split_fuse = True
        scheduler.enable_prefix_caching = True
        kind = self._genai.ContinuousBatchingPipeline
        return self._pipeline("many", lambda: kind(self._model, scheduler, "CPU", self._settings))

    def _pipeline(self, name: str, load: Callable[[], Any]) -> Any:
        if name not in self._pipelines:
            self._pipelines.clear()
            self._pipelines[name] = load()
        return self._pipelines[name]


if __name__ == "__main__":
    run_engine(OpenVinoEngine)
