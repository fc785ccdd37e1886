"""Measures the three shipped models through the engine and writes `docs/models.md`."""

import argparse
import datetime as dt
import importlib.metadata
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tools.tiny import measure_skills as skills
from tools.tiny.engine import Engine
from tools.tiny.measure_context import DEPTHS, STYLES, Result, sweep
from tools.tiny.tokenizer import load

HONEST = (256, 512, 1024, 2048, 4096, 6144, 8000)
FINE = (256, *range(512, 7681, 512), 8000)
FAMILIES = ("keyed thing", "keyed person", "pass key", "home", "belonging", "alias")
FEW_STYLES = ("prose", "unseen English")


def share(right: Iterable[bool]) -> str:
    """Write right answers as `12/15`; a dash when nothing was asked."""
    answers = list(right)
    return f"{sum(answers)}/{len(answers)}" if answers else "-"


def table(
    title: str,
    rows: Iterable[object],
    columns: Iterable[object],
    cell: Callable[[object, object], str],
) -> str:
    """Write a markdown table with one line per row."""
    columns = list(columns)
    lines = [f"| {title} | {' | '.join(map(str, columns))} |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {row} | {' | '.join(cell(row, column) for column in columns)} |" for row in rows]
    return "\n".join(lines) + "\n"


def groups(checks: list[skills.Check]) -> str:
    """Write one line per group of checks."""
    names = dict.fromkeys(c.group for c in checks)
    return table(
        "what", names, ("right",), lambda name, _: share(c.right for c in checks if c.group == name)
    )


def misses(checks: list[skills.Check], most: int = 12) -> str:
    """List some of what went wrong."""
    wrong = [c for c in checks if not c.right]
    lines = [f"- {c.group}: `{c.asked[:70]}` gave `{c.got[:90]!r}`" for c in wrong[:most]]
    return "\n".join([f"{len(wrong)} misses" + (", the first:" if wrong else "."), *lines]) + "\n"


def by_length(
    results: list[Result], lengths: Iterable[int], column: str, names: Iterable[object]
) -> str:
    """Cross lengths with families, styles or depths."""
    return table(
        "tokens", lengths, names,
        lambda n, c: share(
            x.right for x in results if x.length_tokens == n and getattr(x, column) == c
        ),
    )  # fmt: skip


def chat_pages(folder: Path, note: Callable[[str], None]) -> list[str]:
    """Measure the chat model."""
    tokenizer = load()
    engine = Engine(folder / "tiny-chat.gguf")
    count = lambda text: len(tokenizer.encode(text).ids)
    results = list(sweep(engine, count, HONEST, tuple(STYLES), FAMILIES))
    note("context of tiny-chat")
    keyed = [x for x in results if x.family in FAMILIES[:3]]
    short = list(skills.short_answers(engine))
    note("short answers")
    data = list(skills.json_answers(engine))
    note("JSON")
    tools = list(skills.tool_answers(engine))
    note("tools")
    rate = engine.chat("Count to 40.", limit=100).decode_rate
    return [
        "## tiny-chat\n",
        (
            f"Right answers by prompt length and sort of fact, {len(results)} questions, all "
            "filler styles and depths "
            "(`keyed` and `pass key` are family 1, the others family 2):\n"
        ),
        by_length(results, HONEST, "family", FAMILIES),
        "Family 1 by filler style:\n",
        by_length(keyed, HONEST, "style", STYLES),
        (
            "Family 1 by depth (part of the filler before the fact; pass keys, whose depth is "
            "drawn, left out):\n"
        ),
        by_length([x for x in keyed if x.family != "pass key"], HONEST, "depth", DEPTHS),
        "Short answers:\n",
        groups(short),
        misses(short),
        (
            "Structured answers (random schemas, ten prompts, at most 400 tokens; right: ended by "
            "itself and parses):\n"
        ),
        groups(data),
        misses(data),
        "Tools:\n",
        groups(tools),
        misses(tools),
        f"Decoding a short answer ran at {rate:.0f} tokens/s here (one thread, busy machine).\n",
    ]


def overclaimed_pages(folder: Path, note: Callable[[str], None]) -> list[str]:
    """Measure the model whose declared context is false."""
    tokenizer = load()
    engine = Engine(folder / "tiny-chat-overclaimed.gguf")
    count = lambda text: len(tokenizer.encode(text).ids)
    results = list(sweep(engine, count, FINE, FEW_STYLES, FAMILIES[:4], seed=31))
    note("context of tiny-chat-overclaimed")
    return [
        "## tiny-chat-overclaimed\n",
        (
            "The weights of tiny-chat under false rotary frequencies: it declares 8192 tokens and "
            "answers rightly over a part "
            f"of them. {len(results)} questions, two filler styles, five depths:\n"
        ),
        by_length(results, FINE, "family", FAMILIES[:4]),
        "Short answers:\n",
        groups([c for c in skills.short_answers(engine) if not c.group.startswith("number words")]),
    ]


def embed_pages(folder: Path, note: Callable[[str], None]) -> list[str]:
    """Measure the embedding model."""
    engine = Engine(folder / "tiny-embed.gguf", context=512, embedding=True)
    checks = list(skills.embedding_checks(engine))
    note("embeddings")
    text = "Triplets (a text, a related one, an unrelated one); right: the related one is nearer.\n"
    return ["## tiny-embed\n", text, groups(checks), misses(checks, 6)]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("src/lmstrix/shipped"))
    parser.add_argument("--out", type=Path, default=Path("docs/models.md"))
    parser.add_argument(
        "--only",
        default="chat,overclaimed,embed",
        help="parts to measure; the file then holds these alone",
    )
    args = parser.parse_args()
    began = time.monotonic()

    def note(what: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began:5.0f} s  {what}\n")

    parts = {"chat": chat_pages, "overclaimed": overclaimed_pages, "embed": embed_pages}
    engine = f"xllamacpp {importlib.metadata.version('xllamacpp')}"
    today = dt.datetime.now(tz=dt.UTC).date()
    sizes = table(
        "file", sorted(p.name for p in args.models.glob("*.gguf")), ("bytes",),
        lambda name, _: f"{(args.models / str(name)).stat().st_size:,}",
    )  # fmt: skip
    page = [
        "# The shipped models, measured\n",
        (
            f"Written by `python -m tools.tiny.evaluate` on {today}, {engine}, greedy unless said "
            "otherwise. Cells give "
            "right answers of those asked. How the models are made: `tools/README.md`; wordings: "
            "`tools/tiny/PROBES.md`.\n"
        ),
        sizes,
    ]
    for name in args.only.split(","):
        page += parts[name](args.models, note)
    args.out.parent.mkdir(exist_ok=True)
    args.out.write_text("\n".join(page))


if __name__ == "__main__":
    main()
