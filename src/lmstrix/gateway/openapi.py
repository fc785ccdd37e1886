"""The OpenAPI description (3.1) of every HTTP route, made from the types that are read and sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.routing import Route

from lmstrix import __version__
from lmstrix.gateway.describing import Description, describe, description_of
from lmstrix.gateway.responding import json_response

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

PATH = "/openapi.json"
_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")
_JSON = "application/json"
_PLAIN = Description(summary="")


def described(routes: Sequence[BaseRoute]) -> Route:
    """The route that serves the description of `routes`, itself included."""

    @describe("This description.")
    async def endpoint(request: Request) -> Response:  # noqa: ARG001  # Starlette passes it
        return json_response(document([*routes, route]))

    route = Route(PATH, endpoint, methods=["GET"])
    return route


def document(routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """The description of the HTTP routes among `routes`."""
    operations = list(_operations(routes))
    types = [
        one
        for _, _, description in operations
        for one in (description.body, description.answer, description.event)
        if one is not None
    ]
    schemas, components = msgspec.json.schema_components(
        types, schema_hook=_anything, ref_template="#/components/schemas/{name}"
    )
    schema_of = {id(one): schema for one, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for path, method, description in operations:
        operation = _operation(path, description, schema_of)
        there = paths.setdefault(_PARAMETER.sub(r"{\1}", path), {})
        there[method.lower()] = _either(there.get(method.lower()), operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "LMStrix gateway",
            "version": __version__,
            "description": "Local models in the dialects of OpenAI, Anthropic, Ollama and "
            "LM Studio. LM Studio's native protocol, which runs over WebSockets, is not in here.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        "security": [{}, {"bearer": []}, {"key": []}],
    }


def _anything(kind: type) -> dict[str, Any]:
    """The schema of `object`, which is any JSON value."""
    if kind is object:
        return {"description": "Any JSON value."}
    raise NotImplementedError  # as msgspec wants it


def _operations(routes: Iterable[BaseRoute]) -> Iterator[tuple[str, str, Description]]:
    for route in routes:
        if isinstance(route, Route):
            for method in sorted((route.methods or set()) - {"HEAD"}):
                yield route.path, method, description_of(route.endpoint) or _PLAIN


def _either(first: dict[str, Any] | None, second: dict[str, Any]) -> dict[str, Any]:
    """One operation of two dialects, which answers as the one or as the other."""
    if first is None:
        return second
    contents = [one["responses"]["200"]["content"] for one in (first, second)]
    for kind in contents[1]:
        schemas = [content[kind]["schema"] for content in contents if kind in content]
        contents[0][kind] = {"schema": {"anyOf": schemas}}
    return first


def _operation(
    path: str, description: Description, schema_of: dict[int, dict[str, Any]]
) -> dict[str, Any]:
    def content(kind: str, one: object | None) -> dict[str, Any]:
        return {kind: {"schema": schema_of[id(one)] if one is not None else {}}}

    answers = content(description.kind, description.answer)
    if description.stream is not None:
        answers |= content(description.stream, description.event)
    operation: dict[str, Any] = {
        "responses": {
            "200": {"description": "Done.", "content": answers},
            "default": {
                "description": "Refused or failed; in the shape of this dialect's errors.",
                "content": {_JSON: {"schema": {"type": "object"}}},
            },
        }
    }
    if description.summary:
        operation["summary"] = description.summary
    if description.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": content(_JSON, description.body),
        }
    if parameters := _PARAMETER.findall(path):
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in parameters
        ]
    return operation
