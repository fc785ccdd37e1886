"""What a context test finds: outcomes of probes, the three limits, and what they depend on.

Plain data, shared by the store, the context test and everything that shows results. Sizes are
tokens; times ending in `_at` are Unix seconds. What lists hold by
the thousand is `gc=False`: it cannot be part of a cycle, so the collector need not walk it.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from lmstrix.types import LoadConfig, MemoryUse


class FailureKind(StrEnum):
    """Why a probe failed. `UNREACHABLE` and `INTERRUPTED` say nothing about the model."""

    OUT_OF_MEMORY = "out of memory"
    LOAD_REFUSED = "load refused"
    CONTEXT_OVERFLOW = "context overflow"
    SILENT_TRUNCATION = "silent truncation"
    TIMEOUT = "timeout"
    HANG = "hang"
    EMPTY_ANSWER = "empty answer"
    WRONG_ANSWER = "wrong answer"
    CRASH = "crash"
    UNREACHABLE = "server unreachable"
    INTERRUPTED = "interrupted"

    @property
    def blames_model(self) -> bool:
        """Whether the size counts as bad for this model on this machine."""
        return self not in (FailureKind.UNREACHABLE, FailureKind.INTERRUPTED)


class ProbeKind(StrEnum):
    """What one probe asks."""

    LOAD = "load"  # does an instance of this size come up, really this size?
    PROCESS = "process"  # is a prompt that fills it processed whole?
    ANSWER = "answer"  # are answers at this length right?


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """One scored question. `cluster` groups questions asked of one haystack."""

    family: str
    cluster: int
    depth: float
    score: float


class ProbeOutcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a probe went. `real_context_tokens` is what the instance said it holds."""

    ok: bool
    failure: FailureKind | None = None
    detail: str = ""
    real_context_tokens: int | None = None
    prompt_tokens: int | None = None
    load_s: float | None = None
    time_to_first_token_s: float | None = None
    prompt_tokens_per_s: float | None = None
    tokens_per_s: float | None = None
    memory: MemoryUse | None = None
    scores: tuple[Score, ...] = ()


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """A journal entry. `outcome` is `None` from before it starts until it is finished.

    For `LOAD` and `PROCESS`, `tokens` is the context size; for `ANSWER` the prompt length.
    """

    id: int
    test_id: int
    kind: ProbeKind
    tokens: int
    started_at: float
    finished_at: float | None = None
    outcome: ProbeOutcome | None = None


class Verdict(StrEnum):
    """How sure a limit is."""

    FOUND = "found"
    AT_LEAST = "undecided, at least"
    NONE = "none"  # fails at the smallest size that makes sense
    NOT_TESTED = "not tested"
    NOT_APPLICABLE = "not applicable"  # nothing there that could have a limit; evidence says why


class Limit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One of the three limits, with its evidence.

    The true limit lies in `[tokens, below_tokens)`; `below_tokens` is the smallest size known
    to fail, `None` when nothing up to the declared context failed. `evidence` is sentences.
    """

    verdict: Verdict = Verdict.NOT_TESTED
    tokens: int | None = None
    below_tokens: int | None = None
    failure: FailureKind | None = None
    evidence: tuple[str, ...] = ()


class LengthPoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Quality and speed at one prompt length. `low` and `high` are the 95 % bounds of `mean`."""

    tokens: int
    samples: int = 0
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    time_to_first_token_s: float | None = None
    prompt_tokens_per_s: float | None = None
    tokens_per_s: float | None = None
    by_family: dict[str, float] = {}


class TestKey(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a result depends on.

    Loadable and processable hold for (identity, load, provider, machine); effective holds for
    (identity, KV types in `load`, template, suite). `load` has no context size.
    """

    identity: str
    provider: str
    machine: str
    load: LoadConfig = LoadConfig()
    template: str = ""
    suite: str = ""


class TestAsk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What was asked of a test beside its load settings; as in `context.options.TestOptions`.

    What bounds or prepares a single run (`budget_s`, `reset`) is no part of it.
    """

    context_tokens: int | None = None
    fast: bool = False
    threshold_tokens: int | None = None
    timeout_s: float | None = None
    force: bool = False
    seed: int = 0
    economical: bool = False


class TestStatus(StrEnum):
    """Where the test of a model stands."""

    UNTESTED = "untested"
    TESTING = "testing"
    INTERRUPTED = "interrupted"
    COMPLETED = "completed"
    FAILED = "failed"


class TestResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Everything one test of one model found.

    `engine` is what it was measured on; a newer engine leaves it in use, marked. `speed` values
    are those of the longest processed prompt. `asked` is what an interrupted test goes on with.
    """

    id: int = 0
    key: TestKey
    asked: TestAsk | None = None
    model_key: str
    status: TestStatus
    started_at: float
    finished_at: float | None = None
    engine: str = ""
    declared_tokens: int | None = None
    loadable: Limit = Limit()
    processable: Limit = Limit()
    effective: Limit = Limit()
    curve: tuple[LengthPoint, ...] = ()
    time_to_first_token_s: float | None = None
    tokens_per_s: float | None = None
    failure: FailureKind | None = None
    notes: tuple[str, ...] = ()
    probes: int = 0
    loads: int = 0

    @property
    def usable_limit(self) -> Limit | None:
        """The limit to trust: effective where known, else processable, else loadable."""
        for limit in (self.effective, self.processable, self.loadable):
            if limit.tokens is not None and limit.verdict in (Verdict.FOUND, Verdict.AT_LEAST):
                return limit
        return None

    @property
    def usable_tokens(self) -> int | None:
        """The context to trust, that of `usable_limit`."""
        return self.usable_limit.tokens if self.usable_limit is not None else None
