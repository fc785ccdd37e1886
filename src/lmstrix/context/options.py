"""What a user may ask of a context test, and what is told while it runs."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

import msgspec
from msgspec.structs import replace

from lmstrix.results import TestAsk
from lmstrix.types import LoadConfig

if TYPE_CHECKING:
    from lmstrix.results import TestResult


class TestOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a test is to run. `None` leaves the choice to the settings.

    `context_tokens` tests this one size, `fast` leaves out the quality part, `threshold_tokens`
    is a hard ceiling, `timeout_s` the longest one probe may take, `budget_s` the longest the
    whole may. `force` tries sizes known to be bad, `reset` forgets what was found before, and
    without `resume` an interrupted test is begun anew. `economical` ends the search at 3.6 %.
    """

    __test__ = False  # not a test class, whatever pytest makes of its name

    context_tokens: int | None = None
    fast: bool = False
    threshold_tokens: int | None = None
    timeout_s: float | None = None
    budget_s: float | None = None
    force: bool = False
    reset: bool = False
    resume: bool = True
    load: LoadConfig = LoadConfig()
    seed: int = 0
    economical: bool = False

    def asked(self) -> TestAsk:
        """What a test with these options remembers of them."""
        return TestAsk(**{name: getattr(self, name) for name in TestAsk.__struct_fields__})

    def after(self, left: TestResult) -> TestOptions:
        """These options; what they leave open is as it was in the interrupted test `left`."""
        asked = left.asked or TestAsk()
        names = TestAsk.__struct_fields__
        kept = {name: getattr(self, name) or getattr(asked, name) for name in names}
        load = left.key.load if self.load == LoadConfig() else self.load
        return replace(self, load=load, **kept)


class Stage(StrEnum):
    """Where a test stands."""

    WAIT = "waiting"
    PLAN = "planning"
    LOAD = "loading"
    PROCESS = "processing"
    ANSWER = "answering"
    DONE = "done"


class TestEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a running test.

    `tokens` is the size of the present probe, `probe` its number within the test, `fraction`
    (0..1) how far it is where that is known. `result` is what has been found so far.
    """

    __test__ = False

    model_key: str
    server: str = ""
    stage: Stage
    tokens: int | None = None
    probe: int = 0
    fraction: float | None = None
    message: str = ""
    result: TestResult | None = None


EventListener: TypeAlias = Callable[[TestEvent], None]
