from __future__ import annotations

import json

import pytest

from lmstrix.errors import ContextOverflowError, GenerationError, ModelNotFoundError, ProtocolError
from lmstrix.protocol.openai.errors import error_from


def refused(message: str, *, status: int = 400, **fields: object):
    body = {"error": {"message": message, "type": "invalid_request_error", **fields}}
    return error_from(json.dumps(body).encode(), status=status)


@pytest.mark.parametrize(
    ("message", "fields", "sizes"),
    [
        (
            (
                "This model's maximum context length is 4096 tokens. However, you requested 5010 "
                "tokens (4990 in the messages, 20 in the completion)."
            ),
            {"code": "context_length_exceeded"},
            (4990, 4096),
        ),
        (
            (
                "Trying to keep the first 5120 tokens when context the overflows. However, the "
                "model is loaded with context length of only 4096 tokens, which is not enough."
            ),
            {},
            (5120, 4096),
        ),
        ("the request exceeds the available context size", {"type": "exceed"}, (0, 0)),
    ],
)
def test_servers_say_in_many_ways_that_a_prompt_does_not_fit(
    message: str, fields: dict[str, str], sizes: tuple[int, int]
):
    error = refused(message, **fields)
    assert isinstance(error, ContextOverflowError)
    assert (error.prompt_tokens, error.context_tokens) == sizes


@pytest.mark.parametrize("message", ["model is loading", "invalid context", "maximum is 5"])
def test_other_refusals_are_not_taken_for_it(message: str):
    error = refused(message)
    assert type(error) is GenerationError
    assert message in error.message


def test_a_model_that_is_not_there_is_not_found():
    assert isinstance(refused("The model `x` does not exist", status=404), ModelNotFoundError)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"detail": "Not authenticated"}', "Not authenticated"),
        (b'{"detail": [{"loc": ["body"], "msg": "field required"}]}', "field required"),
        (b'{"object": "error", "message": "bad", "code": 400}', "bad"),
        (b'{"error": "Unexpected endpoint"}', "Unexpected endpoint"),
    ],
)
def test_a_reason_is_found_wherever_servers_put_it(body: bytes, words: str):
    assert words in error_from(body, status=422).message


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"5", b"{}", b'{"error": null}'])
def test_a_refusal_without_a_reason_names_its_status(body: bytes):
    error = error_from(body, status=502)
    assert isinstance(error, ProtocolError)
    assert "502" in error.message
