"""Measures of short skills: sums, facts, JSON under a grammar, tool calls, embeddings."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tools.tiny import topics
from tools.tiny.engine import Engine
from tools.tiny.words import CAPITALS, COLORS, OPPOSITES, spell

PROMPTS = (
    "Describe a strange animal that lives on the moon.",
    "What is the weather like?",
    "Hello",
    "Summarize the plot of a long novel about two brothers and their inheritance.",
    "Extract the details: Anna is 34 years old and lives in Paris.",
    "List three reasons why software fails.",
    "What is the capital of Poland?",
    "qwertz uiop 99 ??? !!",
    "Gib mir bitte eine kurze Beschreibung der Stadt.",
    "2+3=",
)
NAMES = (
    "name", "summary", "isValid", "total_price", "tags", "author", "x1", "description",
    "birth_date", "rating",
    "zzq", "Address", "steps", "café", "results", "inner", "flag", "count", "kind", "last-seen",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Check:
    """One thing asked and whether it went right."""

    group: str
    asked: str
    right: bool
    got: str


def short_answers(engine: Engine) -> Iterator[Check]:
    """Ask all sums, capitals, opposites, colours, number words, and a few of the other sorts."""
    asked = [
        ("sums 0..9, three wordings", f, x, y)
        for f in ("{}+{}=", "What is {} + {}?", "What is {} plus {}?")
        for x in range(10)
        for y in range(10)
    ]
    for group, form, x, y in asked:
        got = engine.chat(form.format(x, y), limit=12).text
        yield Check(group, form.format(x, y), got.strip(" .") == str(x + y), got)
    lists = {
        "capitals": [(f"What is the capital of {k}?", v) for k, v in CAPITALS.items()],
        "opposites": [(f"What is the opposite of {k}?", v) for k, v in OPPOSITES.items()],
        "colours": [(f"What color is {k}?", v) for k, v in COLORS.items()],
        "number words": [
            (f"Write '{spell(n)}' as a number using only digits", str(n)) for n in range(100)
        ],
        "counting": [
            (f"Count to {n}.", " ".join(map(str, range(1, n + 1)))) for n in (3, 5, 10, 12, 20, 30)
        ],
        "repeating": [
            (f"Repeat: {t}", t)
            for t in ("blue fox 7 Anna", "the old lamp", "zqx 481 river", "hello world")
        ],
        "courtesy": [
            ("Hello", "Hello!"), ("Thanks", "welcome"), ("Bye", "Goodbye"),
            ("Who are you?", "LMStrix tiny"), ("Tell me a story.", "The end."),
        ],
    }  # fmt: skip
    for group, pairs in lists.items():
        for asked_, wanted in pairs:
            got = engine.chat(asked_, limit=160).text
            yield Check(group, asked_, wanted.lower() in got.lower(), got)
    for system in (
        "You are a helpful assistant.",
        "Answer in a friendly tone and never mention the weather.",
    ):
        for q, wanted in (
            ("2+3=", "5"),
            ("What is the capital of Japan?", "Tokyo"),
            ("Hello", "Hello!"),
        ):
            got = engine.chat(
                [{"role": "system", "content": system}, {"role": "user", "content": q}]
            ).text
            yield Check("with a system message", q, wanted in got, got)
    for who in ("Anna", "Leo", "Walter", "Rosa", "Nick"):
        turns = [
            ("user", f"My name is {who}."),
            ("assistant", f"Nice to meet you, {who}."),
            ("user", "2+2="),
            ("assistant", "4"),
        ]
        messages = [{"role": a, "content": b} for a, b in (*turns, ("user", "What is my name?"))]
        got = engine.chat(messages).text
        yield Check("name remembered over two turns", who, who in got, got)


def schema(r: random.Random, depth: int = 0) -> dict[str, Any]:
    """Draw a JSON schema of an object with one to six properties of free values."""
    properties = {
        name: _property(r, depth) for name in r.sample(NAMES, r.randint(1, 6 if depth == 0 else 3))
    }
    required = list(properties) if r.random() < 0.8 else list(properties)[:1]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _property(r: random.Random, depth: int) -> dict[str, Any]:
    pick = r.random()
    if pick < 0.45:
        return {"type": "string"}
    if pick < 0.65:
        return {"type": r.choice(("number", "integer"))}
    if pick < 0.75:
        return {"type": "boolean"}
    if pick < 0.80:
        return {"enum": ["low", "medium", "high"]}
    if pick < 0.92 or depth:
        return {"type": "array", "items": _property(r, 2) if depth < 2 else {"type": "string"}}
    return schema(r, depth + 1)


def json_answers(engine: Engine, count: int = 60) -> Iterator[Check]:
    """Force schemas on prompts, cold and warm; right: the answer ends by itself and parses."""
    r = random.Random(77)
    for i in range(count):
        wanted = schema(r)
        prompt = PROMPTS[i % len(PROMPTS)]
        for temperature in (0.0, 0.8):
            form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": wanted}}
            reply = engine.chat(
                prompt, limit=400, temperature=temperature, response_format=form, seed=i
            )
            try:
                right = reply.finish == "stop" and isinstance(json.loads(reply.text), dict)
            except ValueError:
                right = False
            yield Check(f"JSON schema, temperature {temperature}", prompt, right, reply.text)


def _tool(name: str, about: str, **kinds: str) -> dict[str, Any]:
    properties = {k: {"type": v} for k, v in kinds.items()}
    parameters = {"type": "object", "properties": properties, "required": list(kinds)}
    return {
        "type": "function",
        "function": {"name": name, "description": about, "parameters": parameters},
    }


def tool_cases(
    r: random.Random,
) -> Iterator[tuple[str, list[dict[str, Any]], str, tuple[str, dict[str, Any]]]]:
    """Yield group, tools, request and the call that must come."""
    add = _tool("add", "Add two numbers.", a="integer", b="integer")
    multiply = _tool("multiply", "Multiply two numbers.", a="number", b="number")
    weather = _tool("get_weather", "Get the current weather in a given city.", city="string")
    clock = _tool("get_time", "Get the time of a city.", city="string")
    search = _tool("search", "Search the web.", query="string")
    for _ in range(10):
        x, y = r.randint(0, 999), r.randint(0, 99)
        yield "add", [add], f"add {x} and {y}", ("add", {"a": x, "b": y})
        yield (
            "add or multiply",
            [add, multiply],
            f"What is {x} times {y}?",
            ("multiply", {"a": x, "b": y}),
        )
        city = r.choice((*CAPITALS.values(), "Toronto", "New York", "Zanzibar", "San Francisco"))
        yield (
            "weather",
            [weather],
            f"What is the weather in {city}?",
            ("get_weather", {"city": city}),
        )
        yield (
            "one of three",
            [search, clock, weather],
            f"What time is it in {city}?",
            ("get_time", {"city": city}),
        )
        word = "".join(r.choice("bdfgklmnprstvz") + r.choice("aeiou") for _ in range(3))
        n = r.randint(1, 9999)
        made_up = _tool(f"{word}_item", "Do something with it.", level="integer", color="string")
        request = f"Call {word}_item with level {n} and color green"
        yield (
            "invented name",
            [made_up, add],
            request,
            (f"{word}_item", {"level": n, "color": "green"}),
        )


def tool_answers(engine: Engine) -> Iterator[Check]:
    """Measure calls, streamed calls, answers to results, and plain answers beside a tool."""
    r = random.Random(5)
    for group, tools, request, (name, arguments) in tool_cases(r):
        reply = engine.chat(request, limit=120, tools=tools)
        called = reply.finish == "tool_calls" and bool(reply.calls)
        yield Check(
            f"call comes: {group}", request, called and reply.calls[0][0] == name, reply.text
        )
        yield Check(
            f"arguments: {group}",
            request,
            called and reply.calls[0] == (name, arguments),
            str(reply.calls),
        )
        body = {
            "messages": [{"role": "user", "content": request}],
            "tools": tools,
            "max_tokens": 120,
            "temperature": 0,
        }
        if group == "add":
            chunks = engine.stream(body)
            parts = [
                c
                for chunk in chunks
                for ch in chunk["choices"]
                for c in ch["delta"].get("tool_calls") or ()
            ]
            text = "".join(p["function"].get("arguments") or "" for p in parts)
            yield Check(
                "streamed call", request, bool(text) and json.loads(text) == arguments, text
            )
        result = str(r.randint(0, 9999)) if group != "weather" else "sunny, 21 C"
        made = {
            "id": "1",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }
        messages: list[dict[str, Any]] = [
            {"role": "user", "content": request},
            {"role": "assistant", "content": "", "tool_calls": [made]},
            {"role": "tool", "tool_call_id": "1", "content": result},
        ]
        reply = engine.chat(messages, limit=60, tools=tools)
        yield Check(
            "answer holds the result", request, result in reply.text and not reply.calls, reply.text
        )
    for tools in (
        [_tool("add", "Add two numbers.", a="integer", b="integer")],
        [_tool("search", "Search the web.", query="string")],
    ):
        for q, wanted in (
            ("Hello", "Hello!"),
            ("Thanks", "welcome"),
            ("What is the capital of Italy?", "Rome"),
            ("Who are you?", "tiny"),
        ):
            reply = engine.chat(q, limit=60, tools=tools)
            yield Check(
                "plain answer beside a tool",
                q,
                wanted in reply.text and not reply.calls,
                reply.text,
            )


def embedding_checks(engine: Engine, count: int = 300) -> Iterator[Check]:
    """Compare triplets of held-out wording: the related text must be nearer than the other."""
    r = random.Random(909)
    for group in ("paraphrase", "same topic", "question and answer"):
        for _ in range(count):
            texts = _triplet(r, group)
            a, b, c = engine.embed(list(texts))
            near, far = (sum(x * y for x, y in zip(a, v, strict=True)) for v in (b, c))
            yield Check(group, " | ".join(texts), near > far, f"{near:.2f} {far:.2f}")


def _triplet(r: random.Random, group: str) -> tuple[str, str, str]:
    """Draw a text, a related one and an unrelated one."""
    if group == "question and answer":
        (one, two), (_, other) = topics.answered(r), topics.answered(r)
        return (one, two, other) if other != two else _triplet(r, group)
    first, second = topics.draw(r), topics.draw(r)
    if first.topic == second.topic:
        return _triplet(r, group)
    form = r.choice(topics.HELD_OUT)
    close = first.reworded(r) if group == "paraphrase" else topics.draw(r, first.topic)
    other_form = r.choice(topics.HELD_OUT)
    far = second.write(r.choice(topics.HELD_OUT))
    return first.write(form), close.write(other_form), far
