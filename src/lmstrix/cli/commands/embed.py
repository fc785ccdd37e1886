"""`lmstrix embed`: texts as vectors."""

from __future__ import annotations

import sys
from itertools import combinations
from typing import TYPE_CHECKING, Any

import click

from lmstrix.cli.formats import encode, format_option
from lmstrix.cli.invocation import Invocation, pass_invocation
from lmstrix.cli.prompt_text import STDIN, read_text
from lmstrix.cli.root import command as declare
from lmstrix.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EXAMPLES = """\
\b
Examples:
  lmstrix embed "A cat on a mat"
  lmstrix embed "cat" "kitten" "river" --similarity
  lmstrix embed --stdin -m my-embedder < lines.txt > vectors.jsonl

A vector is a line of numbers in brackets, one for each text.
"""


@declare(name="embed", epilog=EXAMPLES)
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option("-m", "--model", "--model-id", "model", metavar="MODEL", help="The model.")
@click.option("--stdin", is_flag=True, help="Each line of standard input is a text.")
@click.option("--similarity", is_flag=True, help="Print how alike the texts are instead.")
@format_option()
@click.option("--verbose", "-v", is_flag=True, help="Show the model and the size of the vectors.")
@pass_invocation
def command(invocation: Invocation, /, **given: Any) -> None:
    """Make a vector of each TEXT; near vectors mean near meanings.

    '-' as TEXT is all of standard input. MODEL left out is the last that made vectors, or the only
    one there is.
    """
    texts = _texts(given)
    if given["similarity"] and len(texts) < 2:
        raise UsageError("--similarity compares texts, and there is one.", hint="Give two or more.")
    key, vectors = invocation.run(_embed(invocation, texts, given["model"]))
    terminal = invocation.terminal
    if given["verbose"]:
        terminal.note(f"{key}: {len(vectors):,} x {len(vectors[0]):,} numbers")
    if given["form"] != "text":
        data = {"model": key, "dimensions": len(vectors[0]), "vectors": vectors}
        if given["similarity"]:
            data["similarity"] = [[_cosine(a, b) for b in vectors] for a in vectors]
        terminal.print(encode(data, given["form"]))
    elif given["similarity"]:
        for line in similarity_lines(texts, vectors, width=terminal.width):
            terminal.print(line)
    else:
        import msgspec  # not for --help

        for vector in vectors:
            terminal.print(msgspec.json.encode(vector).decode())


def _texts(given: Mapping[str, Any]) -> list[str]:
    """What to make vectors of. Raises `UsageError` where there is nothing, or an empty text."""
    sources = list(given["texts"])
    if sources.count(STDIN) + given["stdin"] > 1:
        raise UsageError("Standard input can be read only once.")
    texts = [read_text(STDIN, sys.stdin) if one == STDIN else one for one in sources]
    if given["stdin"]:
        texts += [line for line in read_text(STDIN, sys.stdin).splitlines() if line.strip()]
    if not texts or not all(text.strip() for text in texts):
        raise UsageError(
            "There is no text." if not texts else "One of the texts is empty.",
            hint='Write it first: lmstrix embed "Hello", or pipe lines in with --stdin.',
        )
    return texts


async def _embed(
    invocation: Invocation, texts: Sequence[str], model: str | None
) -> tuple[str, list[list[float]]]:
    async with invocation.client() as client:
        entry = await client.embedding_model(model)
        invocation.terminal.status(f"making vectors with {entry.model.key} ...")
        return entry.model.key, await client.embed(texts, model, resident=True)


def similarity_lines(
    texts: Sequence[str], vectors: Sequence[Sequence[float]], *, width: int
) -> list[str]:
    """Every pair with the cosine of its vectors, the most alike first."""
    from lmstrix.registry.layout import one_line, shorten  # not needed for --help

    room = max(8, (width - 12) // 2)
    names = [shorten(one_line(text), room) for text in texts]
    pairs = [(_cosine(vectors[a], vectors[b]), a, b) for a, b in combinations(range(len(texts)), 2)]
    pairs.sort(key=lambda pair: (-pair[0], pair[1:]))
    return [f"{alike:7.4f}  {names[a]} | {names[b]}" for alike, a, b in pairs]


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    from math import hypot

    length = hypot(*one) * hypot(*other)
    return sum(a * b for a, b in zip(one, other, strict=True)) / length if length else 0.0
