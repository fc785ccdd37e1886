"""The live table of running tests, on standard error."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from lmstrix.cli.forecast import Forecast, together_s
from lmstrix.cli.pace import Pace
from lmstrix.cli.units import duration
from lmstrix.context.options import Stage
from lmstrix.registry.columns import human_bytes
from lmstrix.registry.facts import test_cost
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
_NOTHING = 0.05  # a test that took less was known already
_OTHERS = 2 + 2 * 4 + len("interrupted") + len("1,048,576") + _BAR + len(" 100%") + len("~100 min")


class _Row:
    """What is known of one model's test."""

    def __init__(self, name: str, server: str, size_bytes: int, cost: float) -> None:
        self.name = name
        self.server = server
        self.size_bytes = size_bytes
        self.cost = cost
        self.pace = Pace()

    @property
    def running(self) -> bool:
        """Whether it is under way."""
        return self.pace.began is not None and self.pace.ended is None

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

    def left_s(self, now: float, forecast: Forecast) -> float | None:
        """Seconds left; 0 once it is done, `None` where nothing is known yet."""
        if self.pace.ended is not None:
            return 0.0
        began = self.pace.began
        passed_s = 0.0 if began is None else now - began
        return forecast.left_s(self.cost, passed_s=passed_s, own_s=self.pace.left_s(now))

    def left(self, now: float, forecast: Forecast) -> str:
        """What is left, with a `~`; the time taken once it is done."""
        if self.pace.ended is not None:
            return "" if self.pace.took_s is None else duration(self.pace.took_s)
        left = self.left_s(now, forecast)
        return "" if left is None else f"~{duration(max(10.0, left))}"


def _key(entry: Entry) -> tuple[str, str]:
    return entry.model.server, entry.model.key


def _row(entry: Entry, *, several: bool) -> _Row:
    model = entry.model
    place = urlsplit(model.server).netloc or model.server
    name = f"{model.key} ({place})" if several else model.key
    return _Row(name, model.server, model.size_bytes, test_cost(entry) or 0.0)


class LiveTests:
    """Shows every model of a test run; redrawn by a thread of its own until left.

    What is left is told by what the tests that are done have taken (see `Forecast`).
    """

    def __init__(self, terminal: Terminal, entries: Sequence[Entry], *, parallel: int = 1) -> None:
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
        several = len({entry.model.server for entry in entries}) > 1
        self._rows = {_key(entry): _row(entry, several=several) for entry in entries}
        self._forecast = Forecast()
        self._parallel = parallel
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
        key = (event.server, event.model_key)
        row = self._rows.setdefault(key, _Row(event.model_key, event.server, 0, 0.0))
        before = row.pace.took_s
        row.pace.saw(event, time.monotonic())
        took_s = row.pace.took_s
        if before is None and took_s is not None and took_s > _NOTHING:
            self._forecast.record(row.cost, took_s)

    def _together(self, now: float) -> str:
        """What is left of all, once a test is done."""
        waiting: dict[str, float] = {}
        running: dict[str, float] = {}
        for row in self._rows.values():
            left = row.left_s(now, self._forecast)
            if left is None or self._forecast.expected_s(row.cost) is None:
                return ""
            servers = running if row.running else waiting
            servers[row.server] = servers.get(row.server, 0.0) + left
        left = together_s(waiting, running, parallel=self._parallel)
        return f", ~{duration(max(10.0, left))} left" if left else ""

    def _table(self) -> Table:
        width, now = self._console.width, time.monotonic()
        wide = width >= _WIDE
        done = sum(row.pace.ended is not None for row in self._rows.values())
        table = Table(
            box=SIMPLE_HEAD,
            pad_edge=False,
            caption=f"{done} of {len(self._rows)} done{self._together(now)}. "
            "Ctrl-C stops; nothing found is lost.",
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
        for row in self._visible():
            table.add_row(
                shorten(one_line(row.name), room),
                *([human_bytes(row.size_bytes)] if wide else []),
                row.status,
                row.context,
                self._bar(row.pace.share),
                row.left(now, self._forecast),
            )
        return table

    def _visible(self) -> list[_Row]:
        """The rows that fit on the screen, around the first at work."""
        rows = list(self._rows.values())
        room = max(3, self._console.height - 6)
        if len(rows) <= room:
            return rows
        waiting = (i for i, row in enumerate(rows) if row.pace.ended is None)
        at = next((i for i, row in enumerate(rows) if row.running), next(waiting, len(rows) - 1))
        first = max(0, min(at - room // 3, len(rows) - room))
        return rows[first : first + room]

    def _bar(self, share: float) -> str:
        if not share:
            return ""
        full = round(share * _BAR)
        mark, rest = ("█", "░") if self._blocks else ("#", ".")
        return f"{mark * full}{rest * (_BAR - full)} {share:4.0%}"
