"""How the memory is shared out before the first request: weights, KV cache, encoder cache."""

from __future__ import annotations

from dataclasses import dataclass

from ..protocol.config import ConfigError, EngineConfig

#: Share of the free memory that the KV cache takes unless the operator sets its size.
_KV_MEMORY_SHARE = 0.5
_MIB = 2**20


@dataclass(frozen=True)
class MemoryPlan:
    """Sizes in bytes; max_model_len in tokens."""

    weight_bytes: int
    num_blocks: int
    block_size: int
    block_bytes: int
    encoder_cache_bytes: int
    max_model_len: int
    max_num_seqs: int

    def describe(self) -> str:
        """The plan in words, for the operator."""
        tokens = self.num_blocks * self.block_size
        lengths = sorted({self.max_model_len, self.max_model_len // 4, self.max_model_len // 16})
        fits = ", ".join(
            f"{min(self.max_num_seqs, self._sequences_of(length))} of {length}"
            for length in lengths
            if length
        )
        return (
            f"weights {self.weight_bytes / _MIB:.1f} MiB, "
            f"KV cache {self.num_blocks * self.block_bytes / _MIB:.1f} MiB "
            f"({self.num_blocks} blocks of {self.block_size} tokens, {tokens} in all), "
            f"encoder cache up to {self.encoder_cache_bytes / _MIB:.1f} MiB; "
            f"room at once for this many requests of so many tokens: {fits}"
        )

    def _sequences_of(self, length: int) -> int:
        return self.num_blocks // -(-length // self.block_size)


def plan_memory(
    config: EngineConfig, model_limit: int, weight_bytes: int, token_bytes: int, free_bytes: int
) -> MemoryPlan:
    """Share out the memory. model_limit: tokens that the model can attend to; token_bytes: KV
    bytes of one token; free_bytes: what is left after the weights.

    Raises ConfigError if one request of max_model_len would not fit.
    """
    max_model_len = _choose_max_model_len(config, model_limit)
    block_bytes = token_bytes * config.block_size
    return MemoryPlan(
        weight_bytes,
        _choose_num_blocks(config, max_model_len, block_bytes, free_bytes),
        config.block_size,
        block_bytes,
        config.encoder_cache_memory,
        max_model_len,
        config.max_num_seqs,
    )


def _choose_max_model_len(config: EngineConfig, model_limit: int) -> int:
    if config.max_model_len is None:
        return model_limit
    if config.max_model_len > model_limit:
        raise ConfigError(
            f"max_model_len {config.max_model_len} is beyond the model's own limit of {model_limit}"
        )
    return config.max_model_len


def _choose_num_blocks(
    config: EngineConfig, max_model_len: int, block_bytes: int, free_bytes: int
) -> int:
    """As many blocks as the memory allows, but no more than all requests could ever fill."""
    blocks_per_request = -(-max_model_len // config.block_size)
    memory = config.kv_cache_memory
    if memory is None:
        most = blocks_per_request * config.max_num_seqs
        num_blocks = min(most, int(free_bytes * _KV_MEMORY_SHARE) // block_bytes)
    else:
        num_blocks = memory // block_bytes
        if memory > free_bytes:
            raise ConfigError(
                f"kv_cache_memory {memory / _MIB:.0f} MiB is more than the {free_bytes / _MIB:.0f} "
                "MiB that are free after the weights"
            )
    if num_blocks < blocks_per_request:
        raise ConfigError(
            f"a request of {max_model_len} tokens needs {blocks_per_request * block_bytes} bytes "
            f"of KV cache, there are {num_blocks * block_bytes}; raise kv_cache_memory or lower "
            "max_model_len"
        )
    return num_blocks
