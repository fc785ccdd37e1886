"""The database: models, what tests found, and the journal that survives a crash."""

from __future__ import annotations

from lmstrix.store.machine import machine_id
from lmstrix.store.models import Entry, LegacyTest, ListingChange
from lmstrix.store.store import Store

__all__ = ["Entry", "LegacyTest", "ListingChange", "Store", "machine_id"]
