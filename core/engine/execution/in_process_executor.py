"""The model in the engine's own process: loads it, and computes what the scheduler decides."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from torch import Tensor

from ....kernels.dtypes import dtype_name
from ...checkpoints.checkpoint import Checkpoint
from ...contracts.interfaces import LanguageModel
from ...contracts.specs import ModelSpec
from ...deploy.transformers_spec import TransformersSpec
from ...device.device import available_memory, choose_device, choose_dtype, choose_kv_cache_dtype
from ...device.memory_plan import plan_memory
from ...models.encoder_digest import encoder_digest
from ...models.loader import choose_kernels, load_model
from ...models.model_choice import choose_model
from ...prompts.vocabulary import Vocabulary
from ...protocol.config import ConfigError, EngineConfig
from ...protocol.messages import MediaInput, PixelInput, StoreWrites
from ...protocol.model_facts import ModelFacts
from ...protocol.runtime_facts import RuntimeFacts, UsedKernel
from ...protocol.sampling_params import SamplingParams
from ...protocol.scheduler_output import SchedulerOutput, StepResult
from ...registry.registry import Registry
from ...system.memory import keep_freed_memory
from .feature_writer import FeatureWriter
from .grammars.compiler import GrammarCompiler
from .model_runner import ModelRunner
from .sampler import Sampler

logger = logging.getLogger(__name__)


class InProcessExecutor:
    """An `Executor`. Raises ConfigError if the model can't be loaded or the memory can't hold one
    request."""

    def __init__(self, config: EngineConfig, checkpoint: Checkpoint, registry: Registry) -> None:
        spec = _choose_model(config, checkpoint, registry)
        device = choose_device(config.device)
        dtype = choose_dtype(config.dtype, checkpoint.dtype, device)
        if device.type == "cpu":
            keep_freed_memory()
        kv_dtype = choose_kv_cache_dtype(
            config.kv_cache_dtype, config.dtype, checkpoint.dtype, dtype
        )
        kernels = choose_kernels(registry, device, dtype, kv_dtype)
        loaded = load_model(spec, checkpoint, registry, device, dtype, kernels, config.quantization)
        model = loaded.model
        self._plan = plan_memory(
            config,
            model.max_position_embeddings,
            loaded.weight_bytes,
            model.kv_cache_spec.bytes_per_token(kv_dtype),
            available_memory(device),
        )
        #: The model, with its weights as they are stored for the kernels.
        self.model: LanguageModel = model
        logger.info("%s on %s in %s: %s", checkpoint.name, device, dtype, self._plan.describe())
        self._runner = ModelRunner(
            model,
            self._plan.num_blocks,
            config.block_size,
            device,
            dtype,
            kv_dtype,
            config.batch_invariant,
        )
        self._grammars = GrammarCompiler(
            registry.grammar_by_name(config.structured_outputs_backend),
            lambda: Vocabulary.read(checkpoint, model.vocab_size),
        )
        self._sampler = Sampler(
            device,
            kernels.sample_top_k_top_p,
            kernels.mask_tokens,
            checkpoint.eos_token_ids,
            registry.logits_processors,
            self._grammars,
        )
        self._writer = FeatureWriter.open(config, registry)
        digest = ""
        if self._writer is not None:
            digest = encoder_digest(model, checkpoint.config, dtype, registry.origin_of(spec))
        self.facts = ModelFacts(
            max_model_len=self._plan.max_model_len,
            vocab_size=model.vocab_size,
            num_blocks=self._plan.num_blocks,
            recompute_beyond=model.kv_cache_spec.recompute_beyond,
            image_attention=spec.image_attention,
            hidden_size=model.hidden_size,
            dtype=dtype_name(dtype),
            bytes_per_feature=model.hidden_size * dtype.itemsize,
            encoder_digest=digest,
            runtime=RuntimeFacts(
                device=str(device),
                dtype=dtype_name(dtype),
                kv_cache_dtype=dtype_name(kv_dtype),
                quantization=loaded.quantization,
                kernels=[UsedKernel(c.op, c.name, c.why) for c in kernels.choices],
                weights=loaded.weights,
            ),
        )

    def check(self, params: SamplingParams) -> None:
        """Raises ValueError if a logits processor refuses its arguments."""
        self._sampler.check(params)

    def prepare(self, params: SamplingParams) -> Future[Any] | None:
        """See Executor: compiling a grammar."""
        form = params.structured_outputs
        return None if form is None else self._grammars.compile(form.source)

    def execute(self, output: SchedulerOutput) -> StepResult:
        """Forget and get to know requests, even if what follows raises; then compute."""
        for request_id in output.ended:
            self._runner.forget(request_id)
            self._sampler.forget(request_id)
        for new in output.new:
            self._runner.add(new)
            self._sampler.add(new)
        self._runner.drop_features(output.evicted_media)
        if not output.scheduled:
            return StepResult()
        result = self._runner.execute(output)
        sampling = [item.request_id for item in output.scheduled if item.samples]
        sampled = self._sampler.sample(result.logits, sampling)
        self._store(output.encode)
        return StepResult(sampled, result.prompt_logprobs, result.encode_seconds)

    def encode_images(self, media: Sequence[MediaInput]) -> list[Tensor]:
        """[num_features, hidden_size] of each image, in order. Raises ValueError if the model
        takes none."""
        return self._runner.encode_images(media)

    def text_logits(self, token_ids: Sequence[int]) -> Iterator[Tensor]:
        """Logits after each token of a text, [rows, vocab_size] in float32, some hundred rows at a
        time. Requests may run between and beside such calls."""
        return self._runner.text_logits(token_ids)

    def store_writes(self) -> StoreWrites:
        """What was written to the encoder store so far."""
        return self._writer.stats() if self._writer is not None else StoreWrites()

    def close(self, timeout: float) -> None:
        """Wait until features that are still to be written are, for so many seconds at most."""
        self._grammars.close()
        self._sampler.close()
        if self._writer is not None:
            self._writer.close(timeout)

    def _store(self, encoded: Sequence[MediaInput]) -> None:
        """Have features that were computed here written to the store."""
        if self._writer is not None:
            for media in encoded:
                if isinstance(media.payload, PixelInput):
                    self._writer.submit(media.media_key, self._runner.features(media.media_key))


def _choose_model(config: EngineConfig, checkpoint: Checkpoint, registry: Registry) -> ModelSpec:
    spec = choose_model(checkpoint.config, registry, config.model_impl)
    if config.batch_invariant and spec.image_attention != "causal":
        raise ConfigError(
            f"{checkpoint.name}: batch_invariant is not possible for a model whose attention "
            f"is {spec.image_attention}"
        )
    if isinstance(spec, TransformersSpec) and config.model_impl == "auto":
        logger.info(
            "no plugin serves %s: it is deployed automatically from transformers",
            ", ".join(spec.architectures),
        )
    return spec
