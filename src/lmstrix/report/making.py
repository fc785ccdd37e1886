"""A report in one of its forms, from what the store knows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lmstrix import __version__
from lmstrix.errors import NotFoundError, UsageError
from lmstrix.report.gathering import gather

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lmstrix.store import Entry, Store
    from lmstrix.types import Model

FORMS = ("html", "svg", "png")


def make_report(
    store: Store, entries: Sequence[Entry], *, form: str, engine_of: Callable[[Model], str]
) -> bytes:
    """A report about `entries` as the bytes of a file.

    Raises `UsageError` for a form that is none, `NotFoundError` where there is nothing to show
    and `UnsupportedError` where PNG cannot be drawn.
    """
    if form not in FORMS:
        raise UsageError(
            f"A report cannot be made as {form!r}.", hint=f"One of {', '.join(FORMS)}."
        )
    if not entries:
        raise NotFoundError("There are no models to report on.", hint="Find them: lmstrix scan")
    material = gather(store, entries, made_at=time.time(), version=__version__, engine_of=engine_of)
    if form == "html":
        from lmstrix.report.page import html  # noqa: PLC0415  # only this form needs it

        return html(material).encode()
    if not material.tested:
        raise NotFoundError(
            "None of these models was tested, so there is nothing to draw.",
            hint="lmstrix test MODEL",
        )
    from lmstrix.report.sheet import png, svg  # noqa: PLC0415  # only these forms need it

    return svg(material).encode() if form == "svg" else png(material)
