"""The `options` of a request: how the model is loaded, and how it is sampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lmstrix.errors import UsageError
from lmstrix.types import LoadConfig, Sampling

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOADING = {
    "num_ctx": "context_tokens",
    "num_batch": "batch_tokens",
    "num_gpu": "gpu_layers",
    "num_thread": "threads",
}
_SAMPLING = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repeat_penalty": "repeat_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "seed": "seed",
    "stop": "stop",
    "num_predict": "max_tokens",
}
_WHOLE = frozenset({*_LOADING, "top_k", "seed", "num_predict", "repeat_last_n", "num_keep"})
# What llama.cpp takes beside them, by the names it has there.
_LLAMA = {"typical_p": "typical_p", "repeat_last_n": "repeat_last_n", "num_keep": "n_keep"}
# A number below these means: as if it were not there.
_LEAST = {"num_ctx": 1, "num_batch": 1, "num_gpu": 0, "num_thread": 1, "num_predict": 1, "seed": 0}


class ReadOptions(NamedTuple):
    """What options ask for. `llama` are fields of llama.cpp's own."""

    load: LoadConfig
    sampling: Sampling
    llama: Mapping[str, object]


def load_options(config: LoadConfig) -> dict[str, object]:
    """The options that belong to a loaded model: with others than these it is loaded anew."""
    return {
        wire: value
        for wire, name in _LOADING.items()
        if (value := getattr(config, name)) is not None
    }


def sampling_options(sampling: Sampling) -> dict[str, object]:
    """The options of one answer: those that are set, and no other."""
    return {
        wire: value
        for wire, name in _SAMPLING.items()
        if (value := getattr(sampling, name)) is not None
    }


def read_options(options: Mapping[str, object]) -> ReadOptions:
    """What a client's options ask for. Names that nobody knows are passed over, as Ollama does.

    Raises `UsageError` for a value of the wrong kind.
    """
    given = {name: _read(name, value) for name, value in options.items() if value is not None}
    given = {name: value for name, value in given.items() if not _is_absent(name, value)}

    def chosen(names: Mapping[str, str]) -> dict[str, object]:
        return {ours: given[wire] for wire, ours in names.items() if wire in given}

    return ReadOptions(
        LoadConfig(**chosen(_LOADING)),  # type: ignore[arg-type]  # each was read as its kind
        Sampling(**chosen(_SAMPLING)),  # type: ignore[arg-type]  # as above
        chosen(_LLAMA),
    )


def _read(name: str, value: object) -> object:
    if name == "stop":
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list | tuple) or not all(isinstance(one, str) for one in texts):
            raise _wrong(name, "a text or an array of texts")
        return tuple(texts)
    if name not in _SAMPLING and name not in _LOADING and name not in _LLAMA:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(name, "a whole number" if name in _WHOLE else "a number")
    if name in _WHOLE and isinstance(value, float):
        if not value.is_integer():
            raise _wrong(name, "a whole number")
        return int(value)
    return value


def _is_absent(name: str, value: object) -> bool:
    least = _LEAST.get(name)
    return (least is not None and isinstance(value, int) and value < least) or value == ()


def _wrong(name: str, kind: str) -> UsageError:
    return UsageError(f'The option "{name}" must be {kind}.')
