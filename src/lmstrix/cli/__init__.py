"""The command line: parse, call the client, print.

`main` is the installed command. It turns every way a command can end into an exit code and at
most a few lines on standard error: 0 done, 1 failed, 2 usage, 3 nothing found, 4 server
unreachable, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmstrix.errors import LMStrixError

__all__ = ["main"]

PROGRAM = "lmstrix"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. `argv` is without the program's name."""
    _open_missing_streams()
    _print_what_can_be_printed()
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:  # `| head -1` has read enough: not a failure of ours
        _forget_output()
        return 0
    except OSError as error:  # a full disk behind `> file`
        _forget_output()
        _say(f"error: The output could not be written: {error.strerror or error}.")
        return 1
    return code


def _run(arguments: list[str]) -> int:
    try:
        return _call(arguments)
    except click.exceptions.Exit as end:
        return end.exit_code
    except (KeyboardInterrupt, click.Abort) as stop:
        kept = getattr(stop, "kept", "")
        _say(f"interrupted{': ' + kept if kept else ''}")
        return 130
    except OSError as error:
        if error.filename is None:  # standard output; `main` knows what to do
            raise
        _say(f"error: {error.filename}: {error.strerror}.")
        return 1
    except Exception as error:  # noqa: BLE001  # the last net: nothing is hidden, all is said
        if "--debug" in arguments or os.environ.get("LMSTRIX_DEBUG"):
            traceback.print_exception(error)
        return _explain(error)


def _call(arguments: list[str]) -> int:
    from lmstrix.cli.root import root  # here, so that a Ctrl-C during the import is caught

    _complete_shell(root)
    with root.make_context(PROGRAM, arguments) as context:
        result = root.invoke(context)
    return result if isinstance(result, int) else 0


def _explain(error: Exception) -> int:
    from lmstrix.errors import LMStrixError

    if isinstance(error, click.ClickException):
        _say_usage(error)
        return error.exit_code
    if isinstance(error, LMStrixError):
        _say_error(error)
        return error.exit_code
    _say(f"error: {type(error).__name__}: {error}")
    _say("hint: This is a fault in LMStrix. Run again with --debug for the traceback.")
    return 1


def _complete_shell(root: click.Command) -> None:
    instruction = os.environ.get("_LMSTRIX_COMPLETE")
    if instruction:
        from click.shell_completion import shell_complete

        sys.exit(shell_complete(root, {}, PROGRAM, "_LMSTRIX_COMPLETE", instruction))


def _say_error(error: LMStrixError) -> None:
    _say(f"error: {error.message}")
    log = getattr(error, "log", ())
    for line in log[-3:]:
        _say(f"  engine: {line}")
    if error.hint:
        _say(f"hint: {error.hint}")


def _say_usage(error: click.ClickException) -> None:
    message = error.format_message()
    _say(f"error: {message[:1].upper()}{message[1:]}")
    context = getattr(error, "ctx", None)
    if context is not None:
        _say(f"hint: '{context.command_path} --help' shows what is possible.")


def _say(line: str) -> None:
    sys.stdout.flush()
    if sys.stderr.isatty():
        from lmstrix.cli.terminal import Terminal  # only where lines are folded

        Terminal(sys.stdout, sys.stderr).note(line)
    else:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def _open_missing_streams() -> None:
    """Fill closed standard streams, lest the store's file is opened as number 1 and printed to."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            stream = os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8")
            setattr(sys, name, stream)


def _print_what_can_be_printed() -> None:
    """Let odd characters and file names with raw bytes through instead of failing on them."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            utf8 = (stream.encoding or "").lower().replace("-", "") == "utf8"
            reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")


def _forget_output() -> None:
    """Point standard output at nothing, so that the interpreter's own last flush cannot fail."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, number)
    os.close(nothing)
