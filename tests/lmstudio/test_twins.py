"""What is public is complete, and each of the twins has what the other has."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any, get_args

import lmstudio as official
import pytest

import lmstrix.lmstudio as lms
from lmstrix.errors import LMStrixError
from lmstrix.lmstudio import (
    async_client,
    async_models,
    async_session,
    async_stream,
    async_system,
    sync_client,
    sync_models,
    sync_session,
    sync_stream,
    sync_system,
)

_MODULES = (
    (sync_client, async_client),
    (sync_models, async_models),
    (sync_session, async_session),
    (sync_stream, async_stream),
    (sync_system, async_system),
)
_TWINS = [
    (thing, getattr(theirs, twin))
    for ours, theirs in _MODULES
    for name, thing in vars(ours).items()
    if inspect.isclass(thing) and thing.__module__ == ours.__name__ and not name.startswith("_")
    for twin in [f"Async{name.removeprefix('Sync')}"]
]
# Names that asyncio has in another form.
_RENAMED = {
    "close": "aclose",
    "__enter__": "__aenter__",
    "__exit__": "__aexit__",
    "__iter__": "__aiter__",
}


def public(kind: type) -> dict[str, Any]:
    return {
        name: value
        for name, value in inspect.getmembers(kind)
        if (not name.startswith("_") or name in _RENAMED)
        and (callable(value) or isinstance(value, property))
    }


def test_every_class_for_threads_has_a_twin_for_asyncio() -> None:
    assert len(_TWINS) > 15


@pytest.mark.parametrize(("sync", "asynchronous"), _TWINS, ids=[one.__name__ for one, _ in _TWINS])
def test_twins_have_the_same_methods_with_the_same_parameters(
    sync: type, asynchronous: type
) -> None:
    ours = {_RENAMED.get(name, name): value for name, value in public(sync).items()}
    theirs = {
        name: value
        for name, value in inspect.getmembers(asynchronous)
        if name in ours or (name in public(asynchronous))
    }
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        if callable(value):
            mine, other = inspect.signature(value), inspect.signature(theirs[name])
            assert list(mine.parameters) == list(other.parameters), name
            assert [one.default for one in mine.parameters.values()] == [
                one.default for one in other.parameters.values()
            ], name


def test_all_names_are_there() -> None:
    assert len(set(lms.__all__)) == len(lms.__all__)
    assert set(lms.__all__) == set(lms._HOME)
    for name in lms.__all__:
        assert getattr(lms, name) is not None
    assert dir(lms) == sorted(lms.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = lms.nope  # type: ignore[attr-defined]


def test_every_name_of_the_official_client_is_here() -> None:
    modules = {"async_api", "history", "json_api", "plugin", "schemas", "sdk_api", "sync_api"}
    theirs = {name for name in dir(official) if not name.startswith("_")} - modules
    assert theirs - set(lms.__all__) == set()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (ours, theirs)
        for name in ("LLM", "EmbeddingModel", "Client", "Chat", "PredictionStream")
        for ours, theirs in [(getattr(lms, name), getattr(official, name))]
    ]
    + [
        (getattr(lms, f"Async{name}"), getattr(official, f"Async{name}"))
        for name in ("LLM", "EmbeddingModel", "Client", "PredictionStream")
    ],
    ids=lambda kind: kind.__name__,
)
def test_every_public_method_of_the_official_classes_is_here(ours: type, theirs: type) -> None:
    wanted = {name for name in dir(theirs) if not name.startswith("_")}
    assert wanted - set(dir(ours)) <= {"HANDLER_CLASSES"}


def test_every_option_of_the_official_predictions_is_here() -> None:
    from lmstrix.lmstudio.wishing import ActOptions, PredictOptions

    for name, options in (("respond", PredictOptions), ("act", ActOptions)):
        wanted = set(inspect.signature(getattr(official.LLM, name)).parameters)
        wanted -= {"self", "history", "chat", "tools"}
        assert wanted <= set(options.__annotations__), name


def test_the_options_for_type_checkers_are_those_that_are_taken() -> None:
    from lmstrix.lmstudio.acting import ActWishes
    from lmstrix.lmstudio.predicting import Wishes
    from lmstrix.lmstudio.wishing import ActOptions, PredictOptions

    assert set(PredictOptions.__annotations__) == set(Wishes.__struct_fields__)
    assert set(ActOptions.__annotations__) == set(ActWishes.__struct_fields__)


def test_errors_have_the_kinds_that_the_official_ones_have() -> None:
    for name in dir(official):
        theirs = getattr(official, name)
        if not (inspect.isclass(theirs) and issubclass(theirs, Exception)):
            continue
        if name == "ValidationError":
            continue
        ours = getattr(lms, name)
        assert issubclass(ours, LMStrixError)
        for base in theirs.__mro__[1:]:
            if base.__module__ == "builtins":
                assert issubclass(ours, base), (name, base)
            elif base.__name__.startswith("LMStudio"):
                assert issubclass(ours, getattr(lms, base.__name__)), (name, base)


def test_structs_have_the_fields_that_the_official_ones_have() -> None:
    for name in (
        "LlmInfo",
        "LlmInstanceInfo",
        "LlmLoadModelConfig",
        "LlmPredictionConfig",
        "LlmPredictionFragment",
        "LlmPredictionStats",
        "EmbeddingLoadModelConfig",
        "FileHandle",
        "ToolCallRequest",
        "ToolCallResultData",
        "ModelQuery",
    ):
        theirs = set(getattr(official, name).__struct_encode_fields__)
        assert theirs <= set(getattr(lms, name).__struct_encode_fields__), name
    assert {kind.__name__ for kind in get_args(lms.ModelInfo)} == {
        "LlmInfo",
        "EmbeddingModelInfo",
    }


def test_importing_the_client_imports_neither_sockets_nor_asyncio() -> None:
    code = (
        "import sys, lmstrix.lmstudio as lms; lms.Client, lms.AsyncClient, lms.LLM, lms.Chat;"
        "print(*sorted({'asyncio', 'websockets', 'ssl', 'socket'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
