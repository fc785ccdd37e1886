"""Ending from elsewhere what is under way: a load, a download, a prediction."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lmstrix.lmstudio.errors import LMStudioCancelledError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Cancellation:
    """A wish to end something, given to it beforehand. `cancel` may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._actions: list[Callable[[], None]] = []

    @property
    def cancelled(self) -> bool:
        """Whether it was wished."""
        return self._cancelled

    def cancel(self) -> None:
        """Wish it. What is under way is told at once; what comes later does not begin."""
        with self._lock:
            if self._cancelled:
                return
            self._cancelled = True
            actions = tuple(self._actions)
        for action in actions:
            action()

    def check(self) -> None:
        """Raise `LMStudioCancelledError` where it was wished already: nothing is to begin."""
        if self._cancelled:
            raise LMStudioCancelledError("It was cancelled before it began.")

    @contextmanager
    def during(self, action: Callable[[], None]) -> Iterator[None]:
        """Within the block, have `action` called when it is wished; at once where it was."""
        with self._lock:
            self._actions.append(action)
            already = self._cancelled
        try:
            if already:
                action()
            yield
        finally:
            with self._lock:
                self._actions.remove(action)
