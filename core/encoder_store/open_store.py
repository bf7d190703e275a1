"""A store for a URL, by its scheme."""

from __future__ import annotations

from collections.abc import Mapping

from ..contracts.specs import CONTRACT_VERSION, EncoderStoreSpec, load_object
from ..protocol.config import ConfigError
from .store import EncoderStore

BUILTIN_STORES = (
    EncoderStoreSpec(
        "redis",
        ("redis", "rediss", "unix"),
        "octavo.core.encoder_store.redis_store:RedisStore",
        contract_version=CONTRACT_VERSION,
    ),
    EncoderStoreSpec(
        "memory",
        ("memory",),
        "octavo.core.encoder_store.memory_store:open_memory_store",
        contract_version=CONTRACT_VERSION,
    ),
)


def open_store(url: str, stores: Mapping[str, EncoderStoreSpec]) -> EncoderStore:
    """The store of this URL, not connected yet. Raises ConfigError.

    stores: those that plugins bring besides the built-in ones, by name.
    """
    spec = _spec_for_scheme(url.partition("://")[0], (*BUILTIN_STORES, *stores.values()))
    try:
        store: EncoderStore = load_object(spec.load)(url)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the encoder store {spec.name!r} can't be loaded: {error}") from error
    except ValueError as error:
        raise ConfigError(str(error)) from error
    except Exception as error:
        raise ConfigError(f"the encoder store {spec.name!r} can't be opened: {error!r}") from error
    return store


def _spec_for_scheme(scheme: str, specs: tuple[EncoderStoreSpec, ...]) -> EncoderStoreSpec:
    found = [spec for spec in specs if scheme in spec.schemes]
    if len(found) > 1:
        names = " and ".join(repr(spec.name) for spec in found)
        raise ConfigError(f"the encoder stores {names} both open {scheme}://; uninstall one")
    if not found:
        known = ", ".join(f"{scheme}://" for spec in specs for scheme in spec.schemes)
        raise ConfigError(f"the URL of an encoder store must begin with one of {known}")
    return found[0]
