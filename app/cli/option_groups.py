"""Under which headings a command's help lists its options."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

#: In the order of the help; what an option sets, by the name it has in a file.
_GROUPS: dict[str, tuple[str, ...]] = {
    "what is written, and where": (
        "output",
        "sidecar",
        "errors",
        "fields",
        "paths",
        "header",
        "shard_size",
    ),
    "going on after an end": (
        "journal",
        "overwrite",
        "retry_failed",
        "only_missing",
        "dedupe",
        "max_errors",
    ),
    "what is asked of each picture": (
        "prompt",
        "prompts",
        "system",
        "example",
        "choices",
        "schema",
        "max_tokens",
        "temperature",
        "top_p",
        "seed",
    ),
    "what is made of the answers": (
        "strip",
        "max_words",
        "prefix",
        "suffix",
        "trigger_words",
    ),
    "who answers": ("workers", "ray"),
    "model": (
        "model",
        "mmproj",
        "model_impl",
        "served_model_name",
        "response_template",
        "dtype",
        "device",
        "quantization",
        "max_model_len",
    ),
    "connections": (
        "host",
        "port",
        "max_connections",
        "max_body_mib",
        "drain_timeout",
        "allowed_origins",
        "api_keys",
        "share_caches",
    ),
    "files and batches": (
        "batch_dir",
        "max_batch_file_mib",
        "max_batch_disk_mib",
        "max_batch_lines",
    ),
    "the page": ("ui", "base_url", "api_key"),
    "memory": (
        "kv_cache_memory",
        "kv_cache_dtype",
        "enable_prefix_caching",
        "encoder_cache_memory",
    ),
    "requests and their limits": (
        "max_num_seqs",
        "max_num_batched_tokens",
        "max_num_queued_reqs",
        "queue_timeout",
        "request_timeout",
        "scheduling_policy",
        "max_logprobs",
        "structured_outputs_backend",
        "batch_invariant",
    ),
    "images": (
        "max_image_tokens",
        "max_image_pixels",
        "max_image_bytes",
        "max_images_per_prompt",
        "image_background",
        "allowed_media_domains",
        "allowed_media_networks",
        "allowed_local_media_path",
        "media_timeout",
        "media_workers",
        "max_queued_images",
    ),
    "features of images, kept in a store that processes share": (
        "encoder_cache",
        "encoder_cache_ttl",
        "encoder_cache_max_item",
        "encoder_cache_compression",
    ),
    "logs and faults": (
        "log_level",
        "log_format",
        "access_log",
        "engine_stall_timeout",
        "trace",
        "debug",
    ),
}
_GENERAL = ("help", "version", "config")


def grouped(actions: Iterable[argparse.Action]) -> dict[str, list[argparse.Action]]:
    """A command's options by heading: its own first, then those that it shares with others, at
    last those of every command."""
    left = {action.dest: action for action in actions}
    shared = {
        title: [left.pop(name) for name in names if name in left]
        for title, names in _GROUPS.items()
    }
    general = [left.pop(name) for name in _GENERAL if name in left]
    groups = {"options": list(left.values()), **shared, "general": general}
    return {title: found for title, found in groups.items() if found}
