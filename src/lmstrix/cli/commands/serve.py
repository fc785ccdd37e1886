"""`lmstrix serve`: offer the models to other programs, in the dialects they speak."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from lmstrix.cli.invocation import Interrupted, Invocation, pass_invocation
from lmstrix.cli.root import command as declare
from lmstrix.cli.values import DURATION, SIZE
from lmstrix.errors import SettingsError

if TYPE_CHECKING:
    import asyncio

    from lmstrix.cli.terminal import Terminal
    from lmstrix.gateway.options import GatewayOptions
    from lmstrix.gateway.server import Serving

EXAMPLES = """\
\b
Examples:
  lmstrix serve
  lmstrix serve --as-lmstudio                 found by LM Studio's SDKs
  lmstrix serve --alias "claude-*=my-model"   for coding agents
  lmstrix serve --host 0.0.0.0 --token-env MY_TOKEN
"""


def _pairs(
    context: click.Context, option: click.Parameter, given: tuple[str, ...]
) -> dict[str, str]:
    pairs = dict(one.split("=", 1) for one in given if "=" in one)
    if len(pairs) != len(given) or not all(name and meant for name, meant in pairs.items()):
        raise click.BadParameter("write NAME=MODEL, each name once.", context, option)
    return pairs


@declare(
    name="serve",
    epilog=EXAMPLES,
    sections={
        "Who may come in": ("token_env", "hosts", "origins"),
        "Which models": ("aliases", "ttl", "jit", "max_loaded", "repositories"),
        "Limits": ("max_requests", "max_body", "request_timeout"),
    },
)
@click.option(
    "--host",
    default="127.0.0.1",
    metavar="ADDRESS",
    show_default=True,
    help="Address to listen on; any but this machine's own needs --token-env.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    help="Port to listen on, 0 for any that is free.  [default: 1234, else any]",
)
@click.option("--as-lmstudio", is_flag=True, help="Listen where LM Studio's SDKs look, too.")
@click.option(
    "-v", "--verbose", is_flag=True, help="Show a line per request: path, status, model, times."
)
@click.option(
    "--token-env",
    multiple=True,
    metavar="NAME",
    help="Let in who sends the token in this variable. May be repeated.",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="Another name by which this gateway is called.",
)
@click.option(
    "--allow-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="A web page that may use it, as https://my.example.",
)
@click.option(
    "--alias",
    "aliases",
    multiple=True,
    metavar="NAME=MODEL",
    callback=_pairs,
    help="A name that programs use, with * and ?, and the model it means.",
)
@click.option(
    "--ttl", type=DURATION, help="Unload a model after this long without use.  [default: 1h]"
)
@click.option(
    "--no-jit",
    "jit",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Use loaded models only, load none on demand.",
)
@click.option(
    "--max-loaded",
    type=click.IntRange(1),
    default=1,
    metavar="N",
    show_default=True,
    help="Models loaded on demand at the same time.",
)
@click.option(
    "--repository",
    "repositories",
    multiple=True,
    metavar="PLACE",
    help="A folder or another gateway whose models clients may fetch.",
)
@click.option(
    "--max-requests",
    type=click.IntRange(1),
    default=256,
    metavar="N",
    show_default=True,
    help="Requests at the same time.",
)
@click.option("--max-body", type=SIZE, help="Size of a request.  [default: 64MiB]")
@click.option(
    "--request-timeout", type=DURATION, help="Time for all of a request.  [default: none]"
)
@click.option("--fault", "faults", multiple=True, hidden=True, callback=_pairs)  # for tests
@pass_invocation
def command(invocation: Invocation, /, **given: Any) -> None:
    """Serve the models to programs that speak OpenAI's, Anthropic's, Ollama's or LM Studio's API.

    Models are loaded when they are asked for. Web pages and other machines are kept out unless
    they are let in. Ctrl-C lets answers under way finish, a second one ends them.
    """
    invocation.kept = "nothing is served."
    if invocation.run(_serve(invocation, given)):
        raise Interrupted("the gateway has ended, and what it had loaded with it.")


async def _serve(invocation: Invocation, given: dict[str, Any]) -> bool:
    """Serve until told to end; whether that was Ctrl-C."""
    import asyncio  # not for --help

    from lmstrix.gateway.server import serving

    options = _options(given)
    if given["verbose"]:
        _show_requests(invocation.terminal)
    told = asyncio.get_running_loop().create_future()
    async with invocation.client() as client:
        for problem in client.problems:
            invocation.terminal.note(f"note: {problem}")
        async with serving(client, options) as server:
            for meant in options.aliases.values():
                await server.gateway.find(meant)
            forget = _listen_for_signals(told, server)
            try:
                await _introduce(invocation.terminal, server, options)
                interrupted: bool = await told
            finally:
                server.stop()
                await server.ended()
                forget()
    return interrupted


def _options(given: dict[str, Any]) -> GatewayOptions:
    from lmstrix.gateway.faults import Faults  # none of these for --help
    from lmstrix.gateway.options import GatewayOptions

    faults = {
        f"{name.replace('-', '_')}_tokens": int(most) for name, most in given["faults"].items()
    }
    changed = {
        "ttl_s": given["ttl"],
        "max_body_bytes": given["max_body"],
        "request_timeout_s": given["request_timeout"],
    }
    same = ("host", "port", "as_lmstudio", "hosts", "origins", "aliases", "jit", "max_loaded",
            "repositories", "max_requests")  # fmt: skip
    return GatewayOptions(
        tokens=tuple(map(_token, given["token_env"])),
        faults=Faults(**faults) if faults else None,
        **{name: given[name] for name in same},
        **{name: value for name, value in changed.items() if value is not None},
    )


def _token(name: str) -> str:
    token = os.environ.get(name, "").strip()
    if not token:
        raise SettingsError(
            f"The variable {name} holds no token.",
            source=name,
            key="--token-env",
            hint=f"Set it: export {name}=$(openssl rand -hex 24)",
        )
    return token


def _show_requests(terminal: Terminal) -> None:
    import logging  # only with --verbose

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            terminal.note(record.getMessage())

    log = logging.getLogger("lmstrix.gateway.access")
    log.setLevel(logging.INFO)
    log.addHandler(Lines())
    log.propagate = False


def _listen_for_signals(told: asyncio.Future[bool], server: Serving) -> Any:
    """Fill `told` at the first signal, end answers at the second; gives what undoes it."""
    import signal

    loop = told.get_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def heard(number: int) -> None:
        if told.done():
            server.stop(at_once=True)
        else:
            told.set_result(number == signal.SIGINT)

    def handle(number: int, _frame: object) -> None:
        loop.call_soon_threadsafe(heard, number)

    def forget() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, handle)
    return forget


async def _introduce(terminal: Terminal, server: Serving, options: GatewayOptions) -> None:
    """Say what is served where, and how programs are pointed to it."""
    from lmstrix.gateway.options import DEFAULT_PORT

    models = len(await server.gateway.models())
    if options.port is None and server.port != DEFAULT_PORT:
        terminal.note(f"note: Port {DEFAULT_PORT} is taken; this is another one.")
    if not models:
        terminal.note("note: There is no model to serve. 'lmstrix scan' says where it looks.")
    url = server.url
    some = f"{models} model{'' if models == 1 else 's'}"
    terminal.print(f"Serving {some} at {url} until Ctrl-C. For programs that speak")
    for dialect, how in (
        ("OpenAI's API", f"OPENAI_BASE_URL={url}/v1"),
        ("Anthropic's API", f"ANTHROPIC_BASE_URL={url}"),
        ("Ollama's API", f"OLLAMA_HOST={url}"),
        ("LM Studio's API", f"LMSTUDIO_BASE_URL={url}  (SDKs: {url.partition('//')[2]})"),
    ):
        terminal.print(f"  {dialect:<16} {how}")
    terminal.print(f"  {'any of them':<16} {url}/openapi.json describes it")
    for more in server.urls[1:]:
        terminal.print(f"  {'SDKs look at':<16} {more}")
    terminal.out.flush()
