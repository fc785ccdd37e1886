"""The way in for programs with an event loop: one method per user intention.

The methods are in `lmstrix.intentions`, kind by kind. Nothing is opened, imported or started
before a method needs it.
"""

from __future__ import annotations

from lmstrix.intentions.answers import Answers
from lmstrix.intentions.context import KV_TYPES, Context
from lmstrix.intentions.findings import Findings
from lmstrix.intentions.instances import Instances
from lmstrix.intentions.models import Models

__all__ = ["KV_TYPES", "AsyncLMStrix"]


class AsyncLMStrix(Models, Context, Findings, Answers, Instances):
    """LMStrix for programs with an event loop. Use it with `async with`.

    `places` says where data and settings live (default: the platform's folders, or
    `LMSTRIX_HOME`), `settings` what is set (default: read from environment and files). What
    this object loads ends with it, unless loaded as resident.
    """
