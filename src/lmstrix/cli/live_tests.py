"""The live table of running tests, on standard error."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from lmstrix.cli.pace import Pace
from lmstrix.cli.units import duration
from lmstrix.context.options import Stage
from lmstrix.registry.columns import human_bytes
from lmstrix.registry.layout import one_line, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from lmstrix.cli.terminal import Terminal
    from lmstrix.context.options import TestEvent
    from lmstrix.store import Entry

_REDRAWS_PER_S = 5
_WIDE = 72
_BAR = 6
_SIZE = 9  # what the column of sizes takes
_OTHERS = 2 + 2 * 4 + len("interrupted") + len("1,048,576") + _BAR + len(" 100%") + len("~100 min")


class _Row:
    """What is known of one model's test."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.pace = Pace()

    @property
    def status(self) -> str:
        """What is done just now; at the end, how it came out."""
        event = self.pace.event
        if event is None:
            return Stage.WAIT.value
        if event.stage is Stage.DONE and event.result is not None:
            return event.result.status.value
        return event.stage.value

    @property
    def context(self) -> str:
        """The size at work."""
        event = self.pace.event
        return f"{event.tokens:,}" if event and event.tokens else ""

    def left(self, now: float) -> str:
        """What is left, with a `~`; the time taken once it is done."""
        if self.pace.took_s is not None:
            return duration(self.pace.took_s)
        left = self.pace.left_s(now)
        return "" if left is None else f"~{duration(max(10.0, left))}"


class LiveTests:
    """Shows every model of a test run; redrawn by a thread of its own until left."""

    def __init__(self, terminal: Terminal, entries: Sequence[Entry]) -> None:
        self._console = Console(
            file=terminal.err,
            width=terminal.width,
            no_color=not terminal.err_color,
            highlight=False,
            markup=False,
            emoji=False,
            safe_box=True,
        )
        self._blocks = terminal.boxes
        self._rows = {entry.model.key: _Row(entry.model.size_bytes) for entry in entries}
        self._live = Live(
            console=self._console,
            get_renderable=self._table,
            refresh_per_second=_REDRAWS_PER_S,
            redirect_stdout=False,
            redirect_stderr=False,
            transient=True,  # the report that follows says it better
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def on_event(self, event: TestEvent) -> None:
        """Take note of a step; the table is redrawn by itself."""
        row = self._rows.setdefault(event.model_key, _Row(0))
        row.pace.saw(event, time.monotonic())

    def _table(self) -> Table:
        width = self._console.width
        wide = width >= _WIDE
        done = sum(row.pace.ended is not None for row in self._rows.values())
        table = Table(
            box=SIMPLE_HEAD,
            pad_edge=False,
            caption=f"{done} of {len(self._rows)} done. Ctrl-C stops; nothing found is lost.",
            caption_justify="left",
            caption_style="dim",
        )
        # The names get what the other columns leave; rich would squeeze all alike.
        room = width - (_OTHERS + _SIZE if wide else _OTHERS)
        table.add_column("Model", no_wrap=True)
        if wide:
            table.add_column("Size", justify="right", no_wrap=True)
        table.add_column("Status", no_wrap=True)
        table.add_column("Context", justify="right", no_wrap=True)
        table.add_column("Progress", no_wrap=True)
        table.add_column("ETA", justify="right", no_wrap=True)
        now = time.monotonic()
        for key, row in self._visible():
            table.add_row(
                shorten(one_line(key), room),
                *([human_bytes(row.size_bytes)] if wide else []),
                row.status,
                row.context,
                self._bar(row.pace.share),
                row.left(now),
            )
        return table

    def _visible(self) -> list[tuple[str, _Row]]:
        """The rows that fit on the screen, around the one at work."""
        rows = list(self._rows.items())
        room = max(3, self._console.height - 6)
        if len(rows) <= room:
            return rows
        at = next((i for i, (_, row) in enumerate(rows) if row.pace.ended is None), len(rows) - 1)
        first = max(0, min(at - room // 3, len(rows) - room))
        return rows[first : first + room]

    def _bar(self, share: float) -> str:
        if not share:
            return ""
        full = round(share * _BAR)
        mark, rest = ("█", "░") if self._blocks else ("#", ".")
        return f"{mark * full}{rest * (_BAR - full)} {share:4.0%}"
