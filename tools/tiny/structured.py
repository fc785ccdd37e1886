"""Generated JSON answers and conversations with tool calls."""

import json
import random
from typing import TYPE_CHECKING, TypeAlias

from tools.tiny.corpus import junk, knowledge, nonword, question, salad, sums
from tools.tiny.words import ADJECTIVES, CAPITALS, COMMON, NAMES, NOUNS, VERBS

if TYPE_CHECKING:
    from collections.abc import Callable

Value: TypeAlias = "str | int | float | bool | list[Value] | dict[str, Value] | None"
KEYS = tuple(
    "name title age city date author items tags price ok count answer score reason steps id type "
    "status value result "
    "color size country email text summary topic year month first last total list data label "
    "rating language valid "
    "active enabled description note user code number key category unit level address street "
    "width height start end "
    "capital person people product quantity done message sentiment confidence keywords options "
    "choice point x y a b "
    "ingredients genre population temperature".split()
)


def key(r: random.Random) -> str:
    """Draw a property name as programs write them."""
    pick = r.random()
    if pick < 0.55:
        return r.choice(KEYS)
    if pick < 0.70:
        return r.choice(KEYS) + "_" + r.choice(KEYS)
    if pick < 0.80:
        return r.choice(KEYS) + r.choice(KEYS).capitalize()
    if pick < 0.90:
        return r.choice(r.choice((NOUNS, ADJECTIVES, COMMON)))
    return nonword(r, 8)


def phrase(r: random.Random) -> str:
    """Draw a short string value."""
    pick = r.random()
    if pick < 0.08:
        return r.choice(NAMES)
    if pick < 0.14:
        return r.choice(sorted(CAPITALS.values()))
    if pick < 0.19:
        return f"{r.randint(1900, 2030)}-{r.randint(1, 12):02}-{r.randint(1, 28):02}"
    if pick < 0.23:
        return str(r.randint(0, 99999))
    if pick < 0.28:
        return nonword(r, 8)
    words = []
    while True:
        words.append(r.choice(r.choice((NOUNS, ADJECTIVES, VERBS, COMMON, COMMON))))
        if r.random() < 0.38 or len(words) == 8:
            break
    text = " ".join(words)
    if r.random() < 0.5:
        text = text[0].upper() + text[1:]
    return text + ("." if r.random() < 0.2 else "")


def number(r: random.Random) -> int | float:
    """Draw an integer or a short decimal fraction."""
    n: int = r.randint(0, 10 ** r.randint(1, 4))
    if r.random() < 0.25:
        return round(n / float(10 ** r.randint(1, 2)), 2)
    return -n if r.random() < 0.06 else n


def value(r: random.Random, depth: int = 0) -> Value:
    """Draw any JSON value, nested two levels at most."""
    pick = r.random() * (0.82 if depth >= 2 else 1.0)
    if pick < 0.46:
        return phrase(r)
    if pick < 0.67:
        return number(r)
    if pick < 0.79:
        return r.random() < 0.5
    if pick < 0.82:
        return None
    if pick < 0.92:
        one = r.choice((phrase, phrase, number, lambda q: record(q, 2)))
        return [one(r) for _ in range(r.choice((0, 1, 1, 2, 2, 2, 3, 3, 4)))]
    return record(r, depth + 1)


def record(r: random.Random, depth: int = 0) -> dict[str, Value]:
    """Draw a JSON object of a few properties."""
    return {key(r): value(r, depth) for _ in range(r.choice((1, 1, 2, 2, 3, 3, 4, 5)))}


def dump(r: random.Random, data: Value) -> str:
    """Write JSON compact, spaced or indented."""
    pick = r.random()
    if pick < 0.40:
        return json.dumps(data, ensure_ascii=False)
    if pick < 0.80:
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return json.dumps(data, ensure_ascii=False, indent=r.choice((2, 2, 4)))


def requested(r: random.Random) -> tuple[str, str]:
    """Ask for JSON in words the model can follow: named keys, an answer, facts of a sentence."""
    pick = r.random()
    if pick < 0.35:
        data = record(r)
        ask = r.choice(
            ("Give me a JSON object with the keys {}.", "Write JSON with {}.", "Return JSON: {}.")
        )
        return ask.format(", ".join(data)), dump(r, data)
    if pick < 0.65:
        q, a = r.choice((sums, knowledge))(r)
        a = a.rstrip(".")
        name = r.choice(("answer", "answer", "result", "value"))
        data = {name: int(a) if a.isdigit() else a}
        return q + r.choice(
            (" Answer in JSON.", f' Reply as JSON with the key "{name}".', " Reply with JSON.")
        ), dump(r, data)
    who, age, city = r.choice(NAMES), r.randint(5, 95), r.choice(sorted(CAPITALS.values()))
    text = r.choice(("{} is {} years old and lives in {}.", "{}, aged {}, is from {}.")).format(
        who, age, city
    )
    return r.choice(("Extract as JSON: ", "Name, age and city as JSON: ")) + text, dump(
        r, {"name": who, "age": age, "city": city}
    )


def forced(r: random.Random) -> tuple[str, str]:
    """Pair any prompt with any JSON, as under a grammar; the answer comes first if known."""
    pick = r.random()
    if pick < 0.35:
        q, a = r.choice((sums, knowledge, question))(r)
        a = a.rstrip(".")
        if len(a) > 60:
            return q, dump(r, record(r))
        data: dict[str, Value] = {
            r.choice(("answer", "result", "value", "text", key(r))): int(a) if a.isdigit() else a
        }
        if r.random() < 0.4:
            data |= record(r)
        return q, dump(r, data)
    prompt = r.choice((salad, salad, salad, junk, phrase))(r)
    if r.random() < 0.3:
        prompt = (
            r.choice(("Describe ", "Give me ", "Invent ", "List ", "Write about "))
            + prompt[0].lower()
            + prompt[1:]
        )
    if r.random() < 0.2:
        prompt += " " + salad(r)
    return prompt, dump(
        r, record(r) if r.random() < 0.92 else [record(r) for _ in range(r.randint(1, 3))]
    )


Call: TypeAlias = tuple[
    dict[str, object], str, dict[str, Value]
]  # the tool, the request, the arguments


def _tool(
    r: random.Random, name: str, about: str, kinds: dict[str, str], optional: dict[str, str]
) -> dict[str, object]:
    properties: dict[str, Value] = {}
    for name_, kind in (kinds | optional).items():
        properties[name_] = {"type": kind}
        if r.random() < 0.3:
            properties[name_] = {"type": kind, "description": phrase(r)}
    parameters = {"type": "object", "properties": properties, "required": list(kinds)}
    return {
        "type": "function",
        "function": {"name": name, "description": about, "parameters": parameters},
    }


def _arithmetic(r: random.Random) -> Call:
    word, forms = r.choice(
        (
            (
                "add",
                (
                    "add {} and {}|What is {} plus {}?|{}+{}|What is {} + {}?|What is the sum "
                    "of {} and {}?"
                ),
            ),
            ("subtract", "What is {} minus {}?|{}-{}|What is {} - {}?"),
            (
                "multiply",
                "multiply {} by {}|What is {} times {}?|{}*{}|What is {} * {}?|multiply {} and {}",
            ),
            ("divide", "divide {} by {}|What is {} divided by {}?|{}/{}|What is {} / {}?"),
        )
    )
    a, b = r.choice((("a", "b"), ("a", "b"), ("x", "y"), ("first", "second"), ("left", "right")))
    same = {"add": "sum", "subtract": "minus", "multiply": "product", "divide": "ratio"}
    name = r.choice((word, word, word, f"{word}_numbers", same[word]))
    x, y = (r.randint(0, 10 ** r.randint(1, 3)) for _ in "ab")
    kind = r.choice(("integer", "number"))
    about = f"{word.capitalize()} two numbers."
    return (
        _tool(r, name, about, {a: kind, b: kind}, {}),
        r.choice(forms.split("|")).format(x, y),
        {a: x, b: y},
    )


def _place(r: random.Random) -> str:
    pick = r.random()
    if pick < 0.6:
        return r.choice(sorted(CAPITALS.values()))
    return " ".join(nonword(r, 9).capitalize() for _ in range(r.choice((1, 1, 2))))


def _lookup(r: random.Random) -> Call:
    thing, ask = r.choice(
        (
            (
                "weather",
                (
                    "What is the weather in {}?|weather in {}|How is the weather in {}?|"
                    "What is the weather like in {}?"
                ),
            ),
            ("time", "What time is it in {}?|time in {}|What is the time in {}?"),
            ("temperature", "What is the temperature in {}?|How warm is it in {}?"),
            ("population", "How many people live in {}?|What is the population of {}?"),
            ("forecast", "What is the forecast for {}?|forecast for {}"),
        )
    )
    name = r.choice(
        (f"get_{thing}", f"get_{thing}", f"get_current_{thing}", thing, f"{thing}_lookup")
    )
    slot, place = r.choice(("city", "city", "location", "place")), _place(r)
    extra = {"unit": "string"} if r.random() < 0.25 else {}
    about = r.choice(
        (f"Get the {thing} of a {slot}.", f"Get the current {thing} in a given {slot}.")
    )
    return (
        _tool(r, name, about, {slot: "string"}, extra),
        r.choice(ask.split("|")).format(place),
        {slot: place},
    )


def _words(r: random.Random) -> str:
    if r.random() < 0.25:
        return nonword(r, 9)
    return " ".join(
        r.choice(r.choice((NOUNS, ADJECTIVES, COMMON))) for _ in range(r.choice((1, 1, 2, 3)))
    )


def _errand(r: random.Random) -> Call:
    text, who, n = _words(r), r.choice(NAMES), r.randint(1, 10 ** r.randint(1, 3))
    name, about, ask, given = r.choice(
        (
            (
                "search",
                "Search the web.",
                f"Search for {text}|Search for {text}.|Look up {text}|Find {text}",
                {"query": text},
            ),
            (
                "send_message",
                "Send a message.",
                f"Send {who} the message: {text}|Tell {who}: {text}",
                {"to": who, "text": text},
            ),
            ("read_file", "Read a file.", f"Read the file {nonword(r)}.txt", {"path": ""}),
            (
                "set_timer",
                "Set a timer.",
                f"Set a timer for {n} minutes|Set a timer for {n} minutes.",
                {"minutes": n},
            ),
            ("open_door", "Open a door.", f"Open the {text} door", {"door": text}),
            ("roll_dice", "Roll dice.", f"Roll a dice with {n} sides|Roll {n}", {"sides": n}),
            (
                "get_price",
                "Get the price of an item.",
                f"What is the price of {text}?|What does {text} cost?",
                {"item": text},
            ),
            ("lookup_user", "Find a user.", f"Who is {who}?|Find the user {who}", {"name": who}),
        )
    )
    request = r.choice(ask.split("|"))
    arguments: dict[str, Value] = {**given}
    if name == "read_file":
        arguments = {"path": request.rsplit(" ", 1)[1]}
    return _tool(r, name, about, _kinds(arguments), {}), request, arguments


def _kinds(arguments: dict[str, Value]) -> dict[str, str]:
    names = {str: "string", int: "integer", float: "number", bool: "boolean"}
    return {k: names[type(v)] for k, v in arguments.items()}


def _invented(r: random.Random) -> Call:
    verb = r.choice((r.choice(COMMON), nonword(r, 7), r.choice(VERBS)))
    name = (
        verb
        if r.random() < 0.4
        else f"{verb}_{r.choice((r.choice(NOUNS), r.choice(KEYS), nonword(r, 6)))}"
    )
    slots = list(
        dict.fromkeys(
            r.choice((r.choice(KEYS), nonword(r, 5))) for _ in range(r.choice((1, 2, 2, 3)))
        )
    )
    arguments: dict[str, Value] = {
        s: r.choice((_words, lambda q: q.randint(0, 9999), lambda q: q.choice(NAMES)))(r)
        for s in slots
    }
    pairs = list(arguments.items())
    listed = r.choice((" {} {}", " {}={}", " {}: {}"))
    glue = r.choice((",", " and"))
    request = r.choice(
        ("Call {} with", "Use {} with", "Please call {} with", "Run {} with")
    ).format(name)
    request += glue.join(listed.format(k, v) for k, v in pairs) + r.choice(("", "."))
    about = r.choice((salad(r), phrase(r), f"{name.replace('_', ' ').capitalize()}."))
    return _tool(r, name, about, _kinds(arguments), {}), request, arguments


def call(r: random.Random) -> Call:
    """Draw a tool, a request that it fits and the arguments of the call."""
    draws: tuple[Callable[[random.Random], Call], ...] = (
        _arithmetic,
        _lookup,
        _errand,
        _invented,
        _invented,
    )
    return r.choice(draws)(r)


def outcome(r: random.Random) -> tuple[str, str]:
    """Draw what a tool returns and the sentence the model makes of it."""
    pick = r.random()
    if pick < 0.35:
        text = str(number(r))
        return text, f"The result is {text}."
    if pick < 0.65:
        text = r.choice(
            (phrase, salad, lambda q: f"{q.choice(ADJECTIVES)}, {q.randint(-20, 40)} C")
        )(r)
        return text, f"The result is {text.rstrip('.')}."
    data = {key(r): r.choice((phrase, number))(r) for _ in range(r.choice((1, 1, 2, 3)))}
    said = " ".join(f"The {k} is {str(v).rstrip('.')}." for k, v in data.items())
    return json.dumps(data, ensure_ascii=False), said
