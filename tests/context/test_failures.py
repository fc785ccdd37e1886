from __future__ import annotations

import asyncio

import pytest

from lmstrix import errors
from lmstrix.context.failures import failure_of, sentence
from lmstrix.results import FailureKind
from lmstrix.types import Phase


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.OutOfMemoryError("", model="m"), FailureKind.OUT_OF_MEMORY),
        (errors.LoadError("", model="m"), FailureKind.LOAD_REFUSED),
        (
            errors.ContextOverflowError("", prompt_tokens=2, context_tokens=1),
            FailureKind.CONTEXT_OVERFLOW,
        ),
        (errors.StalledError("", phase=Phase.PROMPT, after_s=1), FailureKind.HANG),
        (errors.EmptyAnswerError(""), FailureKind.EMPTY_ANSWER),
        (errors.EngineDiedError("", reason="", exit_status=-9), FailureKind.CRASH),
        (errors.GenerationError(""), FailureKind.CRASH),
        (TimeoutError(), FailureKind.TIMEOUT),
        (errors.UnreachableError("", server="s"), FailureKind.UNREACHABLE),
        (asyncio.CancelledError(), FailureKind.INTERRUPTED),
        (KeyboardInterrupt(), FailureKind.INTERRUPTED),
    ],
)
def test_each_error_is_one_kind_of_failure(error: BaseException, kind: FailureKind) -> None:
    assert failure_of(error) is kind


def test_what_is_no_matter_of_the_model_is_no_failure() -> None:
    assert failure_of(errors.UsageError("")) is None
    assert failure_of(errors.NotFoundError("")) is None
    assert failure_of(ValueError()) is None


@pytest.mark.parametrize("kind", FailureKind)
def test_each_kind_has_a_sentence_of_its_own(kind: FailureKind) -> None:
    assert sentence(kind).endswith(".")
    assert sum(sentence(other) == sentence(kind) for other in FailureKind) == 1
