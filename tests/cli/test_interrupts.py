"""Ctrl-C in every phase, in a real terminal."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
COMMAND = str(Path(sys.executable).with_name("lmstrix"))
PATIENCE_S = 60
CTRL_C = b"\x03"


class Screen:
    """A command in a pseudo-terminal."""

    def __init__(self, arguments: list[str], environ: dict[str, str], columns: int = 80) -> None:
        import fcntl
        import pty
        import struct
        import termios

        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.execve(COMMAND, [COMMAND, *arguments], environ)
        size = struct.pack("HHHH", 24, columns, 0, 0)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)
        self.text = ""
        self.code: int | None = None

    def read_until(self, pattern: str) -> str:
        """Read until the text so far matches."""
        deadline = time.monotonic() + PATIENCE_S
        while not re.search(pattern, self.text):
            assert self._read(deadline), f"ended without {pattern!r}: {self.text!r}"
        return self.text

    def press(self, keys: bytes) -> None:
        os.write(self._terminal, keys)

    def end(self) -> int:
        """Read to the end; the exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self._read(deadline):
            pass
        _, status = os.waitpid(self.pid, 0)
        self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def close(self) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._terminal)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._terminal], [], [], max(0, deadline - time.monotonic()))
        assert ready, f"nothing more came: {self.text!r}"
        try:
            piece = os.read(self._terminal, 65536)
        except OSError:  # Linux says so when the last writer is gone
            return False
        self.text += piece.decode(errors="replace")
        return bool(piece)


@pytest.fixture
def screen(environ: dict[str, str], lmstrix: Run) -> Iterator[Callable[..., Screen]]:
    opened: list[Screen] = []

    def start(*arguments: str, columns: int = 80) -> Screen:
        plain = {name: value for name, value in environ.items() if name != "COLUMNS"}
        opened.append(Screen(list(arguments), {**plain, "TERM": "xterm-256color"}, columns))
        return opened[-1]

    lmstrix("scan")
    yield start
    for one in opened:
        one.close()


def idle(lmstrix: Run) -> bool:
    """Whether the resident engine answers at once: nothing is left running in it."""
    done = lmstrix("infer", "What is 2+3?", "tiny-chat", "--timeout", "20", "--temperature", "0")
    return done.stdout == "5\n"


def test_ctrl_c_while_loading_loads_nothing(screen: Callable[..., Screen], lmstrix: Run) -> None:
    shown = screen("load", "tiny-chat", "--in-ctx", "8192")
    shown.read_until("loading the model")
    shown.press(CTRL_C)
    assert shown.end() == 130
    assert "interrupted: nothing was loaded." in shown.text
    assert "Traceback" not in shown.text
    assert json.loads(lmstrix("ps", "--format", "json").stdout) == []


def test_ctrl_c_while_the_prompt_is_read_cancels_on_the_engine(
    screen: Callable[..., Screen], lmstrix: Run, tmp_path: Path
) -> None:
    long = tmp_path / "long.txt"
    long.write_text("The cat sat on the mat. " * 600, encoding="utf-8")
    shown = screen(
        *("infer", "{{text}}", "tiny-chat", "--text-file", str(long)),
        *("--in-ctx", "8192", "--stream", "--threads", "1"),
    )
    shown.read_until("reading the prompt")
    shown.press(CTRL_C)
    assert shown.end() == 130
    assert "interrupted: no answer had come yet." in shown.text
    assert "Traceback" not in shown.text
    assert idle(lmstrix)


# A plain completion at a high temperature goes on and on.
STORY = ("infer", "Once upon a time", "tiny-chat", "--raw", "--in-ctx=8192", "--temperature=1.5")


def test_ctrl_c_in_the_answer_keeps_what_came(
    screen: Callable[..., Screen], lmstrix: Run, tmp_path: Path
) -> None:
    file = tmp_path / "kept.txt"
    # Every token is as likely as any other: the one that ends the answer is long in coming.
    uniform = ("--temperature=100", "--top-k=0", "--top-p=1", "--min-p=0", "--seed=3")
    endless = (*uniform, "--out-ctx=max")
    shown = screen(*STORY, *endless, "--stream", "--save-response", str(file))
    shown.read_until(r"\r +\r\s*(\S+\s+){8}")  # words after the status line was taken away
    shown.press(CTRL_C)
    assert shown.end() == 130
    assert re.search(r"interrupted: the answer so far \(\d+ tokens\) is kept\.", shown.text)
    kept = file.read_text(encoding="utf-8").strip()
    assert kept
    assert kept[:40].split()[0] in shown.text
    assert idle(lmstrix)


def test_a_reader_that_leaves_ends_the_answer_without_noise(
    environ: dict[str, str], lmstrix: Run
) -> None:
    lmstrix("scan")
    arguments = " ".join(f"'{word}'" for word in STORY)
    done = subprocess.run(
        ["bash", "-c", f"{COMMAND} {arguments} --stream | head -c 20"],
        env=environ,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert len(done.stdout) == 20
    assert done.stderr == b""
    assert idle(lmstrix)


def test_ctrl_c_in_a_test_leaves_it_to_be_continued(
    screen: Callable[..., Screen], lmstrix: Run
) -> None:
    shown = screen("test", "tiny-chat", "--fast")
    shown.read_until("processing")
    shown.press(CTRL_C)
    assert shown.end() == 130
    assert "Take it up again: lmstrix test --continue" in " ".join(shown.text.split())
    assert "Traceback" not in shown.text
    assert lmstrix("list", "status:interrupted", "--show", "id").stdout == "tiny-chat\n"
    assert json.loads(lmstrix("ps", "--format", "json").stdout) == []
    again = lmstrix("test", "--continue", "--fast", "--format", "json", "-q")
    [result] = json.loads(again.stdout)
    assert result["status"] == "completed"
    assert result["loads"] <= 2  # what was found before was not done again


def test_a_reset_of_several_is_asked_on_a_terminal(
    screen: Callable[..., Screen], lmstrix: Run
) -> None:
    shown = screen("test", "--all", "--reset")
    shown.read_until(r"Forget the test results of 3 models\?")
    shown.press(b"n\n")
    assert shown.end() == 130
    assert lmstrix("ps", "--format", "json").stdout == "[]\n"


def test_reset_of_all_is_asked_on_a_terminal_and_done_without_one(
    screen: Callable[..., Screen], lmstrix: Run
) -> None:
    lmstrix("scan")
    lmstrix("test", "--all", "--fast", "--threshold", "512", "-q")
    shown = screen("reset", "--all")
    shown.read_until(r"Forget the test results of 3 models\?")
    shown.press(b"n\n")
    assert shown.end() == 130
    assert len(lmstrix("list", "status:completed", "--show", "id").stdout.split()) == 3
    told = screen("reset", "--all", "--yes")
    assert told.end() == 0
    assert "Forgot the results of 3 tests" in told.text
    assert lmstrix("list", "status:completed", "--show", "id").stdout == ""


@pytest.mark.parametrize("columns", [60, 80])
def test_colours_and_live_lines_are_for_terminals(
    columns: int, screen: Callable[..., Screen]
) -> None:
    shown = screen("doctor", columns=columns)
    assert shown.end() == 0
    assert "\x1b[32m✓\x1b[0m engine self-test" in shown.text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.text).replace("\r\n", "\n")
    lines = [line.rpartition("\r")[2] for line in plain.split("\n")]
    assert max(map(len, lines)) <= columns
