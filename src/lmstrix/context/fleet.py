"""Tests of many models: in the order given, several servers at a time, one test at a time on each.

`Fleet` decides what comes next; `run_fleet` starts it, and takes note of what came of it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from lmstrix.results import TestResult


@dataclass(frozen=True)
class Post:
    """What one test takes for itself: the server it loads on, and the model's results."""

    server: str
    subject: str


@dataclass
class Fleet:
    """Which tests may run now. Each is known by its place in `posts`."""

    posts: Sequence[Post]
    parallel: int = 1
    _waiting: list[int] = field(init=False)
    _running: set[int] = field(default_factory=set, init=False)
    _silent: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._waiting = list(range(len(self.posts)))

    @property
    def done(self) -> bool:
        """Whether nothing runs and nothing is left to run."""
        return not self._running and not self._waiting

    def next(self) -> int | None:
        """The first that may run beside those that do; it counts as running from now on."""
        if len(self._running) >= self.parallel:
            return None
        busy = [self.posts[number] for number in self._running]
        servers = {post.server for post in busy}
        subjects = {post.subject for post in busy}
        for number in self._waiting:
            post = self.posts[number]
            if post.server not in servers and post.subject not in subjects:
                self._waiting.remove(number)
                self._running.add(number)
                return number
        return None

    def finished(self, number: int) -> None:
        """It runs no more."""
        self._running.discard(number)

    def fell_silent(self, number: int, why: str) -> None:
        """Its server does not answer: what waits for that server is not tried."""
        self._silent[self.posts[number].server] = why

    def skipped(self) -> list[tuple[int, str]]:
        """Those that wait for a silent server, with what is known of it; they wait no more."""
        found = [
            (number, why)
            for number in self._waiting
            if (why := self._silent.get(self.posts[number].server)) is not None
        ]
        for number, _ in found:
            self._waiting.remove(number)
        return found


@dataclass(frozen=True)
class Report:
    """What came of one test. `silent` is why its server does not answer, where it does not."""

    result: TestResult
    silent: str = ""


async def run_fleet(
    posts: Sequence[Post],
    test: Callable[[int], Awaitable[Report]],
    skip: Callable[[int, str], TestResult],
    *,
    parallel: int = 1,
) -> list[TestResult]:
    """Run `test` for every post, and `skip` for those whose server has fallen silent.

    Results come in the order of the posts. What `test` raises ends all others, as a cancellation
    does: each leaves its server as it found it.
    """
    fleet = Fleet(posts, parallel=max(1, parallel))
    results: dict[int, TestResult] = {}
    running: dict[asyncio.Task[Report], int] = {}
    try:
        while not fleet.done:
            for skipped, why in fleet.skipped():
                results[skipped] = skip(skipped, why)
            while (number := fleet.next()) is not None:
                running[asyncio.ensure_future(test(number))] = number
            if not running:
                continue
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                number = running.pop(task)
                fleet.finished(number)
                report = task.result()
                results[number] = report.result
                if report.silent:
                    fleet.fell_silent(number, report.silent)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return [results[number] for number in sorted(results)]
