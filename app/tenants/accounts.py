"""The accounts of all keys."""

from __future__ import annotations

from ...core.observe.key_metrics import KeyMetrics
from .account import Account
from .key_ring import Holder


class Accounts:
    """By name, so that a key that is replaced has the limits of the one before."""

    def __init__(self, metrics: KeyMetrics) -> None:
        self._metrics = metrics
        self._accounts: dict[str, Account] = {}

    def of(self, holder: Holder) -> Account:
        """Its limits are those of the holder's entry, as it is now."""
        account = self._accounts.get(holder.name)
        if account is None:
            account = self._accounts[holder.name] = Account(holder.name, metrics=self._metrics)
        account.follow(holder.entry)
        return account
