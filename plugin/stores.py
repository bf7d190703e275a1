"""What a store of encoder outputs implements and raises."""

from ..core.encoder_store.store import EncoderStore, StoreError, StoreRefusedError

__all__ = ["EncoderStore", "StoreError", "StoreRefusedError"]
