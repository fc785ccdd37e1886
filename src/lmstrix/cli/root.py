"""The tree of commands: names and one line each here, a command's module only when it is called."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from lmstrix import __version__
from lmstrix.cli.invocation import Invocation
from lmstrix.cli.values import DURATION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class Entry(NamedTuple):
    """Where a command is, and what it says of itself."""

    module: str
    section: str
    line: str


COMMANDS = {
    "scan": Entry("scan", "Know the models", "Find the models on this machine."),
    "list": Entry("list", "Know the models", "Show the models found, without touching a server."),
    "info": Entry("info", "Know the models", "Show everything that is known of one model."),
    "fit": Entry("fit", "Know the models", "Predict the largest context that fits in memory."),
    "test": Entry("test", "Know the models", "Measure the context a model really handles."),
    "save": Entry(
        "save", "Know the models", "Make tested limits the defaults of LM Studio, Ollama."
    ),
    "report": Entry("report", "Know the models", "Draw what was measured as one page."),
    "infer": Entry("infer", "Use them", "Ask a model and print its answer."),
    "embed": Entry("embed", "Use them", "Make vectors of texts, by what they mean."),
    "ps": Entry("ps", "Use them", "Show the loaded models."),
    "load": Entry("load", "Use them", "Load a model and keep it loaded."),
    "unload": Entry("unload", "Use them", "Unload models."),
    "serve": Entry("serve", "Use them", "Offer the models to other programs."),
    "reset": Entry("reset", "Keep house", "Forget test results."),
    "doctor": Entry("doctor", "Keep house", "Check the set-up and say how to mend it."),
    "registry": Entry("registry", "Keep house", "Import, back up and count what is known."),
    "config": Entry("config", "Keep house", "Show the settings and where each comes from."),
    "about": Entry("about", "Keep house", "Show versions, machine, folders, known models."),
}
ALIASES = {"health": "doctor", "optimize": "test", "ls": "list"}


EVERY_COMMAND = "Options of every command"


class SharedOption(click.Option):
    """An option that every command takes, before or after its name."""


def _keep(context: click.Context, option: click.Parameter, value: object) -> None:
    if value not in (None, False) and option.name is not None:
        setattr(context.find_root().ensure_object(Invocation), option.name, value)


def _version(context: click.Context, _: click.Parameter, wanted: object) -> None:
    if wanted:
        click.echo(f"lmstrix {__version__}")
        context.exit()


def shared_options() -> list[click.Option]:
    """The options of every command, new objects each time."""

    def flag(*names: str, text: str) -> click.Option:
        return SharedOption(names, is_flag=True, help=text, expose_value=False, callback=_keep)

    return [
        SharedOption(
            ["--config"],
            metavar="FILE",
            help="Read this settings file above the user's own.",
            expose_value=False,
            callback=_keep,
        ),
        SharedOption(
            ["--profile"],
            metavar="NAME",
            help="Use this named set of settings.",
            expose_value=False,
            callback=_keep,
        ),
        SharedOption(
            ["--provider"],
            metavar="NAME",
            help="Use only this provider (embedded, ...) and its models.",
            expose_value=False,
            callback=_keep,
        ),
        SharedOption(
            ["--server"],
            metavar="PLACE",
            help="Use this server: its address, or its name in the settings.",
            expose_value=False,
            callback=_keep,
        ),
        SharedOption(
            ["--timeout", "timeout_s"],
            type=DURATION,
            help="Give up when nothing moves for this long (load, prompt, between tokens).",
            expose_value=False,
            callback=_keep,
        ),
        flag("--quiet", "-q", text="Print results and errors only."),
        flag("--debug", text="Show the traceback of an error."),
        flag("--no-color", text="No colours (as NO_COLOR does)."),
        flag("--no-emoji", text="Words instead of symbols."),
        SharedOption(
            ["--version", "-V"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_version,
            help="Print the version.",
        ),
    ]


class Command(click.Command):
    """A command with the shared options added.

    `sections` sorts its own options under titles by parameter name; the rest come first.
    """

    def __init__(
        self, *args: Any, sections: Mapping[str, Sequence[str]] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._sections = sections or {}
        taken = {name for option in self.params for name in option.opts}
        self.params += [o for o in shared_options() if not taken.intersection(o.opts)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section by section."""
        titles = {name: title for title, names in self._sections.items() for name in names}
        records: dict[str, list[tuple[str, str]]] = {
            title: [] for title in ("Options", *self._sections, EVERY_COMMAND)
        }
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx) if isinstance(option, click.Option) else None
            if record is not None:
                own = titles.get(option.name or "", "Options")
                title = EVERY_COMMAND if isinstance(option, SharedOption) else own
                records[title].append(record)
        for title, lines in records.items():
            if lines:
                with formatter.section(title):
                    formatter.write_dl(lines, col_max=26)


class Group(click.Group):
    """A group that offers the nearest name for one that is not there."""

    command_class = Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read nothing at all as `--help`."""
        return super().parse_args(ctx, args or ["--help"])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a usage error names the nearest."""
        name = args[0]
        command = self.get_command(ctx, name)
        if command is not None:
            return command.name, command, args[1:]
        nearest = get_close_matches(name, [*self.list_commands(ctx), *ALIASES], n=1)
        guess = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise click.UsageError(f"There is no command {name!r}.{guess}", ctx)


class Root(Group):
    """The commands by name; each module is imported when its command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Name the commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        entry = COMMANDS.get(ALIASES.get(cmd_name, cmd_name))
        if entry is None:
            return None
        command = import_module(f"lmstrix.cli.commands.{entry.module}").command
        assert isinstance(command, click.Command)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read `help COMMAND` as `COMMAND --help`."""
        if args and args[0] == "help":
            args = [*args[1:], "--help"]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the sections without importing any command."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, entry in COMMANDS.items():
            sections.setdefault(entry.section, []).append((name, entry.line))
        for title, lines in sections.items():
            with formatter.section(title):
                formatter.write_dl(lines, col_spacing=4)


def _normalize(name: str) -> str:
    return name.replace("_", "-")


EXAMPLES = """\
\b
Examples:
  lmstrix scan                          find the models
  lmstrix test --all                    measure what each really handles
  lmstrix infer "Hello" my-model        ask
  cat notes.txt | lmstrix infer - -q    ask from a file, print the answer alone

'lmstrix COMMAND --help' tells more. Options may be written --in-ctx or --in_ctx.
"""


def _root() -> Root:
    return Root(
        name="lmstrix",
        help="Put local language models to work, knowing what they can really do.",
        epilog=EXAMPLES,
        params=[*shared_options()],
        context_settings={
            "help_option_names": ["--help", "-h"],
            "token_normalize_func": _normalize,
            "max_content_width": 100,
        },
    )


root = _root()


def command(**settings: Any) -> Callable[[Callable[..., object]], Command]:
    """Declare a command: `click.command` with the shared options."""
    return click.command(cls=Command, **settings)
