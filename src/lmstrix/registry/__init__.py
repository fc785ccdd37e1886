"""The models that are known: finding them, choosing among them, showing them.

What a listing needs is here; `scan`, `find`, `listing` and `legacy` are imported where used.
"""

from __future__ import annotations

from lmstrix.registry.filters import FILTER_KEYS, Filter, matches_keywords, parse_filter
from lmstrix.registry.sorting import SORT_KEYS, sort_entries

__all__ = [
    "FILTER_KEYS",
    "SORT_KEYS",
    "Filter",
    "matches_keywords",
    "parse_filter",
    "sort_entries",
]
