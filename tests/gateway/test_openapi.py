"""The description of the routes, and the routes held to it by schemathesis."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

if TYPE_CHECKING:
    from lmstrix.gateway.server import Serving

SCHEMATHESIS = str(Path(sys.executable).with_name("schemathesis"))
CHECKS = (
    "not_a_server_error",
    "content_type_conformance",
    "response_schema_conformance",
    "status_code_conformance",
)


@pytest.fixture
async def document(gateway: Serving) -> dict[str, Any]:
    async with httpx2.AsyncClient() as http:
        return (await http.get(f"{gateway.url}/openapi.json")).json()


async def test_every_dialect_is_described_with_its_types(document: dict[str, Any]):
    assert document["openapi"].startswith("3.1")
    for path, body in (
        ("/v1/chat/completions", "ChatRequest"),
        ("/v1/messages", "MessagesRequest"),
        ("/api/generate", "GenerateRequest"),
        ("/api/v1/models/load", None),
        ("/health", None),
        ("/openapi.json", None),
    ):
        (operation,) = document["paths"][path].values()
        assert operation["summary"]
        if body is not None:
            asked = operation["requestBody"]["content"]["application/json"]["schema"]
            assert asked["$ref"].endswith(body)
    events = document["paths"]["/v1/messages"]["post"]["responses"]["200"]["content"]
    assert set(events) == {"application/json", "text/event-stream"}


async def test_what_two_dialects_answer_at_one_path_is_either(document: dict[str, Any]):
    listed = document["paths"]["/v1/models"]["get"]["responses"]["200"]["content"]
    assert len(listed["application/json"]["schema"]["anyOf"]) == 2


async def test_every_reference_leads_somewhere(document: dict[str, Any]):
    text = json.dumps(document)
    for name in document["components"]["schemas"]:
        text = text.replace(f'"#/components/schemas/{name}"', '""')
    assert "#/components" not in text


def made_useful(document: dict[str, Any]) -> dict[str, Any]:
    """The description with names of models that are there, and short answers."""
    for operations in document["paths"].values():
        for operation in operations.values():
            content = operation.get("requestBody", {}).get("content", {})
            name = content.get("application/json", {}).get("schema", {}).get("$ref", "")
            schema = document["components"]["schemas"].get(name.rpartition("/")[2], {})
            fields, needed = schema.get("properties", {}), set(schema.get("required", ()))
            if "model" in fields:
                fields["model"] = {"enum": ["tiny-chat", "tiny-embed", "none"]}
                needed.add("model")
            for limit in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
                if limit in fields:
                    fields[limit] = {"type": "integer", "minimum": 1, "maximum": 4}
                    needed.add(limit)
            if fields:
                schema["required"] = sorted(needed)
    return document


async def test_no_request_that_the_description_allows_is_a_fault_of_the_server(
    gateway: Serving, document: dict[str, Any], tmp_path: Path
):
    (tmp_path / "openapi.json").write_text(json.dumps(made_useful(document)), encoding="utf-8")
    program = await asyncio.create_subprocess_exec(
        SCHEMATHESIS,
        "run",
        "openapi.json",
        *("--url", gateway.url, "--seed", "1", "--max-examples", "3", "--phases", "fuzzing"),
        *("--checks", ",".join(CHECKS), "--suppress-health-check", "all", "--warnings", "off"),
        *("--request-timeout", "60", "--continue-on-failure"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await program.communicate()
    assert program.returncode == 0, said.decode()
