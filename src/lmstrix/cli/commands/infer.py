"""`lmstrix infer`: one prompt, one answer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from lmstrix.cli.formats import encode, format_option
from lmstrix.cli.invocation import Invocation, pass_invocation
from lmstrix.cli.options import (
    load_config,
    load_options,
    model_options,
    one_model,
    shared_load_arguments,
    ttl_option,
)
from lmstrix.cli.prompt_text import STDIN, compose, read_text
from lmstrix.cli.root import command as declare
from lmstrix.cli.values import COUNT, DURATION, LENGTH, PAIRS, POSITIVE, SHARE, TOKENS
from lmstrix.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lmstrix.async_client import AsyncLMStrix
    from lmstrix.cli.terminal import Terminal
    from lmstrix.explain import Explanation
    from lmstrix.types import Sampling

EXAMPLES = """\
\b
Examples:
  lmstrix infer "Why is the sky blue?" my-model
  lmstrix infer "Sum up: {{text}}" --text-file notes.txt
  lmstrix infer "Write a {{form}} on {{topic}}" --dict form=haiku,topic=rain
  git diff | lmstrix infer - -m my-model --system-prompt "Review this change."
  lmstrix infer "Hello" --stream --verbose
  lmstrix infer "Name a city" --schema city.json
  lmstrix infer "What is on it?" --image photo.jpg
  lmstrix infer "Hello" --explain           what exactly would be sent
  lmstrix infer "Hello" --auto-model        ask the tested model that suits best

The answer alone goes to standard output, everything else to standard error.
"""

THINK = ("on", "off", "low", "medium", "high")
SECTIONS = {
    "Prompt": (
        "stdin", "text", "text_file", "pairs", "context_file", "image", "system_prompt", "raw",
    ),
    "Kind of answer": ("schema", "tool", "tool_choice", "think", "logprobs"),
    "Context": ("in_ctx", "out_ctx", "max_tokens", "overflow"),
    "Sampling (what is left out is the server's choice)": (
        "temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed", "stop",
    ),
    "Loading": ("reload", "kv_type", "flash", "gpu_layers", "threads", "memory_limit", "ttl"),
    "Output": (
        "stream", "stream_timeout", "explain", "save_response", "no_wrap", "form", "verbose",
    ),
}  # fmt: skip


@declare(name="infer", epilog=EXAMPLES, sections=SECTIONS)
@click.argument("prompt", required=False)
@model_options
@click.option("--auto-model", is_flag=True, help="Choose the model by what was measured.")
@click.option("--stdin", is_flag=True, help="Read the prompt from standard input, as '-' does.")
@click.option("--text", help="Fill {{text}}, or the prompt's only placeholder.")
@click.option("--text-file", metavar="FILE", help="Fill it with a file ('-': standard input).")
@click.option(
    "--dict",
    "pairs",
    type=PAIRS,
    multiple=True,
    help="Fill placeholders: name=value,name=value or @file.json. Repeatable.",
)
@click.option(
    "--context-file",
    metavar="FILE",
    multiple=True,
    help="Put a file before the prompt. Repeatable.",
)
@click.option(
    "--image",
    metavar="FILE",
    multiple=True,
    help="Show the model a picture with the prompt. Repeatable.",
)
@click.option("--system-prompt", metavar="TEXT", help="What the model is told first.")
@click.option("--raw", is_flag=True, help="Plain completion, without the chat template.")
@click.option("--schema", metavar="FILE", help="Hold the answer to the JSON Schema in this file.")
@click.option(
    "--tool",
    metavar="FILE|NAME=SCHEMA",
    multiple=True,
    help="Offer a tool: definitions in JSON, or a name and its arguments' JSON Schema. Repeatable."
    " Calls are printed, not made.",
)
@click.option(
    "--tool-choice",
    metavar="NAME|WORD",
    help="The tool to call, or auto, none, required.  [default: auto]",
)
@click.option("--think", type=click.Choice(THINK), help="Reason before answering, or how much.")
@click.option(
    "--logprobs",
    type=click.IntRange(min=0, max=100),
    metavar="N",
    help="With --format json: each token's log probability and N alternatives.",
)
@click.option(
    "--in-ctx",
    type=LENGTH,
    help="Context to load: tokens, % of the declared, 0 for the engine's default."
    "  [default: the tested limit, else what fits]",
)
@click.option(
    "--out-ctx",
    type=LENGTH,
    help="Longest answer: tokens, % of the context, max or auto.  [default: until the model stops]",
)
@click.option("--max-tokens", type=TOKENS, help="Deprecated; the same as --out-ctx.")
@click.option("--reload", "--force-reload", is_flag=True, help="Load the model anew.")
@click.option(
    "--overflow",
    type=click.Choice(["stop", "middle", "rolling"]),
    default="stop",
    show_default=True,
    help="A prompt that does not fit: refuse, or cut its middle or oldest part, saying so.",
)
@click.option("--temperature", "--param-temp", type=POSITIVE, help="Randomness.")
@click.option("--top-k", "--param-top-k", type=COUNT, help="Only the K likeliest.")
@click.option("--top-p", "--param-top-p", type=SHARE, help="Nucleus sampling.")
@click.option("--min-p", "--param-min-p", type=SHARE, help="Least probability.")
@click.option(
    "--repeat-penalty",
    "--param-repeat",
    type=POSITIVE,
    metavar="N",
    help="Against repetition.",
)
@click.option("--seed", type=int, metavar="N", help="Same seed, same answer.")
@click.option("--stop", multiple=True, metavar="TEXT", help="End the answer here. Repeatable.")
@load_options
@ttl_option
@click.option("--stream", is_flag=True, help="Print tokens as they come.")
@click.option(
    "--stream-timeout",
    type=DURATION,
    help="Give up when the answer makes no progress for this long.  [default: 120 s]",
)
@click.option("--explain", is_flag=True, help="Print what would be sent, and send nothing.")
@click.option("--save-response", type=click.Path(dir_okay=False), help="Write the answer here too.")
@click.option("--no-wrap", is_flag=True, help="Never break long lines at words.")
@format_option("Form of the answer.")
@click.option("--verbose", "-v", is_flag=True, help="Show model, settings, prompt, statistics.")
@pass_invocation
def command(invocation: Invocation, /, **given: Any) -> int:
    """Ask MODEL (the last used when left out) and print its answer.

    '-' as PROMPT reads standard input. The model is loaded if need be and stays loaded.
    """
    if given["stream"] and given["form"] != "text":
        raise UsageError(
            f"--stream shows text as it comes; --format {given['form']} needs the whole answer.",
            hint="Leave one of them out.",
        )
    if given["logprobs"] is not None and given["form"] == "text":
        raise UsageError(
            "--logprobs tells numbers for each token, which text has no place for.",
            hint="Add --format json.",
        )
    prompt, model = _prompt_and_model(given)
    if given["auto_model"] and model is not None:
        raise UsageError(
            f"--auto-model chooses the model, and {model!r} is named.",
            hint="Leave one of them out.",
        )
    return invocation.run(_ask(invocation, prompt, model, given))


def _prompt_and_model(given: Mapping[str, Any]) -> tuple[str, str | None]:
    """What is asked, and of whom; standard input is read at most once."""
    source, argument = given["prompt"], given["model"]
    if given["stdin"]:
        if argument is not None:  # PROMPT and MODEL, and a prompt from standard input too
            raise UsageError(
                "The prompt is given twice: as an argument and with --stdin.",
                hint="To put standard input into a prompt: --text-file - and {{text}} in it.",
            )
        source, argument = STDIN, source
    if source is None:
        raise UsageError(
            "There is no prompt.",
            hint="Write it first: lmstrix infer \"Hello\", or pipe it into '-'.",
        )
    sources = [source if source == STDIN else "", given["text_file"], *given["context_file"]]
    if sources.count(STDIN) > 1:
        raise UsageError("Standard input can be read only once.")
    if given["text"] is not None and given["text_file"] is not None:
        raise UsageError("--text and --text-file fill the same place.", hint="Give one of them.")
    text = given["text"]
    if given["text_file"] is not None:
        text = read_text(given["text_file"], sys.stdin)
    prompt = compose(
        read_text(STDIN, sys.stdin) if source == STDIN else source,
        values=_merged(given["pairs"]),
        text=text,
        contexts=[read_text(path, sys.stdin) for path in given["context_file"]],
    )
    return prompt, one_model(argument, given["model_option"])


def _merged(pairs: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """All `--dict` together; a later one wins."""
    return {name: value for each in pairs for name, value in each.items()}


def _sampling(given: Mapping[str, Any]) -> Sampling:
    from lmstrix.types import Sampling  # not needed for --help

    return Sampling(
        temperature=given["temperature"],
        top_k=given["top_k"],
        top_p=given["top_p"],
        min_p=given["min_p"],
        repeat_penalty=given["repeat_penalty"],
        seed=given["seed"],
        stop=given["stop"] or None,
    )


def _answer_length(given: Mapping[str, Any]) -> str | None:
    from lmstrix.sizes import answer_limit  # not needed for --help

    wanted: str | None = given["out_ctx"]
    if given["max_tokens"] is not None:
        if wanted is not None:
            raise UsageError("--max-tokens is the old name of --out-ctx.", hint="Give one of them.")
        wanted = str(given["max_tokens"])
    answer_limit(wanted, context_tokens=1)  # a wrong value is said before anything is loaded
    return wanted


async def _choose(
    client: AsyncLMStrix, prompt: str, given: Mapping[str, Any], terminal: Terminal
) -> str:
    """The name of the model that suits best; why is said on standard error."""
    from lmstrix.registry.find import qualified_name  # not for --help
    from lmstrix.types import Message, Role

    messages = [Message(Role.USER, prompt)]
    if given["system_prompt"]:
        messages.insert(0, Message(Role.SYSTEM, given["system_prompt"]))
    chosen = await client.select(messages, out_ctx=_answer_length(given))
    for reason in chosen.reasons:
        terminal.note(f"note: {reason}")
    return qualified_name(chosen.entry)


def _kind_of_answer(given: Mapping[str, Any]) -> dict[str, Any]:
    """What goes with the prompt, read before anything is loaded."""
    from lmstrix.cli.attachments import parse_think, read_image, read_schema, read_tools

    return {
        "images": tuple(read_image(path) for path in given["image"]),
        "schema": None if given["schema"] is None else read_schema(given["schema"]),
        "tools": read_tools(given["tool"]),
        "tool_choice": given["tool_choice"],
        "think": parse_think(given["think"]),
        "logprobs": given["logprobs"],
    }


async def _ask(
    invocation: Invocation, prompt: str, model: str | None, given: Mapping[str, Any]
) -> int:
    from lmstrix.cli.answer_printing import AnswerPrinter
    from lmstrix.types import Overflow

    terminal = invocation.terminal
    printer = AnswerPrinter(
        terminal,
        prompt=prompt,
        sampling=_sampling(given),
        stream=given["stream"],
        form=given["form"],
        wrap=not given["no_wrap"],
        verbose=given["verbose"],
        save=given["save_response"],
        schema=given["schema"] is not None,
    )
    options: dict[str, Any] = {
        "system_prompt": given["system_prompt"],
        "raw": given["raw"],
        "in_ctx": given["in_ctx"],
        "out_ctx": _answer_length(given),
        "sampling": _sampling(given),
        **_kind_of_answer(given),
        "load": load_config(**shared_load_arguments(given), ttl=given["ttl"]),
        "overflow": Overflow(given["overflow"]),
        "reload": given["reload"],
        "resident": True,
        "on_progress": printer.progress,
    }
    stall = given["stream_timeout"]
    phases = ("prompt_s", "first_token_s", "tokens_s")
    overrides = {f"timeouts.{phase}": stall for phase in phases}
    async with invocation.client(overrides) as client:
        if given["auto_model"]:
            model = await _choose(client, prompt, given, terminal)
        if given["explain"]:
            _print_explanation(await client.explain(prompt, model, **options), terminal, given)
            return 0
        async with client.stream(prompt, model, **options) as answer:
            await printer.print(answer, invocation)
    return 0


def _print_explanation(
    explanation: Explanation, terminal: Terminal, given: Mapping[str, Any]
) -> None:
    from lmstrix.cli.explanation_report import explanation_data, explanation_lines

    if given["form"] == "text":
        terminal.print("\n".join(explanation_lines(explanation)))
    else:
        terminal.print(encode(explanation_data(explanation), given["form"]))
