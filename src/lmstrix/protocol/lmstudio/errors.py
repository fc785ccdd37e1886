"""Errors as a server sends them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from lmstrix.protocol.lmstudio.shape import Shape

NO_MODEL = "generic.noModelMatchingQuery"
PATH_NOT_FOUND = "generic.pathNotFound"
IDENTIFIER_NOT_FOUND = "generic.identifierNotFound"
PRESET_NOT_FOUND = "generic.presetNotFound"
DOMAIN_MISMATCH = "generic.domainMismatch"
MODEL_UNLOADED = "generic.specificModelUnloaded"
UNSUPPORTED_FEATURE = "generic.engineDoesNotSupportFeature"
MISSING_RUNTIME = "generic.missingRuntimeExtension"


class SerializedLMSExtendedError(Shape, kw_only=True):
    """What went wrong. `display_data` has a `code` and what belongs to it."""

    title: Any = "Unknown error"
    root_title: Any = None
    cause: Any = None
    suggestion: Any = None
    error_data: Any = None
    display_data: Any = None
    stack: Any = None

    @property
    def code(self) -> str:
        """The code of `display_data`, one of this module's or one of a newer server; or empty."""
        data = self.display_data
        code = data.get("code") if isinstance(data, Mapping) else None
        return code if isinstance(code, str) else ""

    def text(self) -> str:
        """In words: one line, or several where there is more to say than a title."""
        title = str(self.title or self.root_title or "Unknown remote error")
        if self.root_title and self.title and self.root_title != self.title:
            title = f"{self.root_title}: {self.title}"
        more: list[str] = []
        for heading, value in (
            ("Additional information from server:", self.display_data),
            ("Error details from server:", self.error_data),
            ("Reported cause:", self.cause),
            ("Suggested potential remedy:", self.suggestion),
        ):
            if value is not None:
                written = value if isinstance(value, str) else json.dumps(value, indent=2)
                more += ["", f"  {heading}", *(f"    {line}" for line in written.splitlines())]
        return "\n".join(("", "", f"  {title}", *more)) if more else title


def read_error(raw: object) -> SerializedLMSExtendedError:
    """The error in what a server sent as one, be it an object, a text or anything else."""
    if isinstance(raw, msgspec.Raw | bytes):
        raw = msgspec.json.decode(raw) if bytes(raw) else None
    if not isinstance(raw, Mapping):
        cause = None if raw is None else str(raw)
        return SerializedLMSExtendedError(title="Server API error", cause=cause)
    known = {key: value for key, value in raw.items() if key != "stack"}
    return msgspec.convert(known, SerializedLMSExtendedError)
