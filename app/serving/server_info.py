"""What GET /info tells of a server. Anyone may ask, so it names no place on the operator's disk and
no address of a store."""

from __future__ import annotations

import re

import msgspec

from ... import __version__
from ...core.protocol.runtime_facts import RuntimeFacts, UsedKernel
from ...core.registry.registry import PluginInfo, Registry

#: A path from a root or a home, up to its last name; in quotes it may have spaces.
_FOLDERS = re.compile(
    r"""(?<=["'])(?:[A-Za-z]:|~)?[\\/][^"'\n]*[\\/](?=[^"'\\/\n]*["'])"""
    r"""|(?<![\w.:/\\-])(?:[A-Za-z]:|~)?[\\/](?:[^\s"'():,;\\/]+[\\/])+"""
)
#: An address with whatever keys it holds.
_ADDRESS = re.compile(r"\b([a-z][a-z0-9+.-]*)://[^\s\"']+", re.IGNORECASE)


class ListedPlugin(msgspec.Struct, frozen=True, omit_defaults=True):
    """As `octavo plugins list` has it. source: distribution and version, or "built-in". error: why
    it is refused."""

    name: str
    source: str
    brings: list[str]
    error: str | None = None


class ServerInfo(msgspec.Struct, frozen=True):
    """num_blocks, block_size: of the KV cache, None for a model that has none; max_model_len:
    tokens of a sequence, None for a model that writes none. See RuntimeFacts for the rest."""

    version: str
    model: str
    device: str
    dtype: str
    kv_cache_dtype: str | None
    quantization: str | None
    kernels: list[UsedKernel]
    plugins: list[ListedPlugin]
    num_blocks: int | None
    block_size: int | None
    max_num_seqs: int
    max_model_len: int | None


def server_info(
    model_name: str,
    runtime: RuntimeFacts,
    registry: Registry,
    max_num_seqs: int,
    *,
    num_blocks: int | None = None,
    block_size: int | None = None,
    max_model_len: int | None = None,
) -> ServerInfo:
    """See ServerInfo."""
    return ServerInfo(
        version=__version__,
        model=model_name,
        device=runtime.device,
        dtype=runtime.dtype,
        kv_cache_dtype=runtime.kv_cache_dtype,
        quantization=runtime.quantization,
        kernels=[UsedKernel(k.op, k.kernel, for_strangers(k.why)) for k in runtime.kernels],
        plugins=[_listed(plugin, registry) for plugin in registry.plugins],
        num_blocks=num_blocks,
        block_size=block_size,
        max_num_seqs=max_num_seqs,
        max_model_len=max_model_len,
    )


def for_strangers(message: str) -> str:
    """An error's text, with paths cut down to their last names, and addresses to their schemes."""
    return _FOLDERS.sub("", _ADDRESS.sub(r"\1://…", message))


def _listed(plugin: PluginInfo, registry: Registry) -> ListedPlugin:
    error = None if plugin.error is None else for_strangers(plugin.error)
    return ListedPlugin(plugin.name, plugin.source, registry.brought_by(plugin.name), error)
