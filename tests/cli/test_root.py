"""The tree of commands: help, names, options before and after, typing errors."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import click
import pytest

from lmstrix import __version__
from lmstrix.cli import main
from lmstrix.cli.root import ALIASES, COMMANDS, Command, SharedOption, root

HEAVY = ("asyncio", "httpx2", "msgspec", "psutil", "rich", "sqlite3", "xllamacpp", "numpy")


def commands() -> list[tuple[str, click.Command]]:
    """Every command that can be called, by its whole name."""
    found: list[tuple[str, click.Command]] = []
    for name in COMMANDS:
        command = root.get_command(click.Context(root), name)
        assert command is not None
        if isinstance(command, click.Group):
            found += [(f"{name} {each}", command.commands[each]) for each in command.commands]
        else:
            found.append((name, command))
    return found


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["infer", "--help"], ["inferr"]])
def test_help_and_version_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from lmstrix.cli import main; main(sys.argv[1:]);"
        f"print([n for n in {HEAVY!r} if n in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"


def test_every_command_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("name", [*COMMANDS, *ALIASES])
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: lmstrix ")
    assert main(["help", name]) == 0


@pytest.mark.parametrize("width", ["60", "80"])
@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits_the_terminal(
    name: str, width: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    main([name, "--help"] if name else ["--help"])
    lines = capsys.readouterr().out.splitlines()
    examples = {line for line in lines if line.startswith("    ")}
    assert [line for line in lines if len(line) > int(width) and line not in examples] == []


def examples() -> list[list[str]]:
    """Every command line in an epilog, as words."""
    texts = [root.epilog or "", *(command.epilog or "" for _, command in commands())]
    lines = re.findall(r"^  (?:.*?)\blmstrix (.+)$", "\n".join(texts), re.MULTILINE)
    return [shlex.split(re.split(r"   +", line)[0]) for line in lines]


@pytest.mark.parametrize("words", examples(), ids=" ".join)
def test_the_examples_in_the_help_can_be_called(words: list[str]) -> None:
    assert len(examples()) > 20
    context = root.make_context("lmstrix", words[:0] or ["--no-color", *words])
    name, command, rest = root.resolve_command(context, words)
    assert command is not None
    command.make_context(name, rest, parent=context)


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lmstrix {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "guess"),
    [
        (["infr"], "'infer'"),
        (["optimise"], "'optimize'"),
        (["infer", "x", "--temprature", "1"], ""),
    ],
)
def test_the_nearest_name_is_offered(
    arguments: list[str], guess: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert f"Did you mean {guess}" in error
    assert "hint: " in error


def test_underscores_and_hyphens_are_the_same() -> None:
    context = click.Context(root, token_normalize_func=lambda name: name.replace("_", "-"))
    command = root.get_command(context, "infer")
    assert command is not None
    one = command.make_context(
        "infer", ["x", "--in_ctx", "8", "--param_top_k", "3"], parent=context
    )
    other = command.make_context("infer", ["x", "--in-ctx", "8", "--top-k", "3"], parent=context)
    assert one.params == other.params
    assert one.params["top_k"] == 3


@pytest.mark.parametrize(("name", "command"), commands())
def test_every_command_takes_the_shared_options_or_one_of_its_own(
    name: str, command: click.Command
) -> None:
    assert isinstance(command, Command)
    names = {option for each in command.params for option in each.opts}
    assert names >= {
        *("--config", "--profile", "--provider", "--server", "--timeout", "--debug", "--quiet"),
        *("--no-color", "--no-emoji", "--version"),
    }
    own = {option.name for option in command.params if not isinstance(option, SharedOption)}
    assert "timeout" in own if name in ("scan", "test") else "timeout" not in own


@pytest.mark.parametrize(
    "arguments", [["--quiet", "config", "show"], ["config", "show", "--quiet"]]
)
def test_shared_options_hold_before_and_after_the_command(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().err == ""
    assert main(["config", "show"]) == 0
    assert "default" in capsys.readouterr().err


def test_every_option_has_a_help_text() -> None:
    for name, command in commands():
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert option.help, f"{name} {option.opts}"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["infer"], "There is no prompt"),
        (["infer", ""], "The prompt is empty"),
        (["infer", "x", "--out_ctx", "150%"], "at most 100"),
        (["infer", "x", "--out-ctx", "lots"], "expected a number"),
        (["infer", "x", "m", "-m", "n"], "Two models"),
        (["infer", "x", "--stream", "--format", "json"], "--stream"),
        (["infer", "x", "--text", "a"], "no place for 'text'"),
        (["infer", "x", "--temperature", "-1"], "temperature"),
        (["infer", "x", "--text", "a", "--text-file", "b"], "same place"),
        (["infer", "x", "--max-tokens", "5", "--out-ctx", "5"], "old name"),
        (["infer", "x", "--format", "xml"], "xml"),
        (["test"], "Which model"),
        (["test", "m", "--all"], "not both"),
        (["test", "m", "--budget", "soon"], "not a time"),
        (["unload"], "not both"),
        (["unload", "m", "--all"], "not both"),
        (["load", "m", "--memory-limit", "much"], "not a size"),
        (["fit", "m", "--kv-type", "q9"], "q8_0"),
        (["list", "--sort", "colour"], "sort by"),
        (["list", "--columns", "colour"], "no column"),
        (["scan", "--no-update", "--reset"], "--no-update"),
        (["--timeout", "0", "ps"], "above zero"),
        (["--profile", "none", "list"], "no profile"),
        (["--config", "none.toml", "list"], "cannot be read"),
    ],
)
def test_a_wrong_call_is_exit_2_and_one_clear_line(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert complaint in shown.err
    assert "Traceback" not in shown.err


def test_the_help_of_list_names_every_sort_key_and_form() -> None:
    from lmstrix.cli.commands import list as listing
    from lmstrix.registry import SORT_KEYS
    from lmstrix.registry.listing import SHOWS

    assert listing.SORTS == SORT_KEYS
    assert listing.SHOWS == SHOWS
