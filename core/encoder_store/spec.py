"""What a plugin declares to bring a store."""

from __future__ import annotations

from dataclasses import dataclass

from ..contracts.specs import CONTRACT_VERSION


@dataclass(frozen=True)
class EncoderStoreSpec:
    """A store for outputs of image encoders.

    name: unique among stores, shown in listings.
    schemes: of the URLs that it opens, such as "redis" for redis://host.
    load: "module:Class" of an EncoderStore (see `core.encoder_store.store`).
    """

    name: str
    schemes: tuple[str, ...]
    load: str
    contract_version: int = CONTRACT_VERSION
