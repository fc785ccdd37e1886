"""When a connection that says nothing is to be doubted."""

from __future__ import annotations

import time
from typing import ClassVar

from lmstrix.lmstudio.errors import LMStudioWebsocketError


class Silence:
    """How long nothing came, by the clock on the wall: that one goes on while a machine sleeps.

    A clock that jumps costs one question for a sign of life and nothing else.
    """

    LIMIT_S: ClassVar[float] = 20.0
    ANSWER_S: ClassVar[float] = 3.0

    def __init__(self) -> None:
        self._since = time.time()

    def broken(self) -> None:
        """Something came."""
        self._since = time.time()

    def long(self) -> bool:
        """Whether it was long, or the clock jumped."""
        return not 0 <= time.time() - self._since <= self.LIMIT_S


def unreachable(url: str, problem: BaseException) -> LMStudioWebsocketError:
    """The error for a server with which no connection could be opened."""
    return LMStudioWebsocketError(
        f"LM Studio is not reachable at {url} ({type(problem).__name__}: {problem}).",
        server=url,
        hint="Is LM Studio running, and is this its address?",
    )


def lost(url: str, problem: BaseException) -> LMStudioWebsocketError:
    """The error for a connection that is no more."""
    return LMStudioWebsocketError(
        f"The connection to {url} was lost ({type(problem).__name__}: {problem}).",
        server=url,
        hint="Is LM Studio still running? The next call opens a new connection.",
    )
