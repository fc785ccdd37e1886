"""Where output goes, and what happens when it cannot go there."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lmstrix.cli import main
from lmstrix.store import Store
from lmstrix.types import Listing, Model

if TYPE_CHECKING:
    from conftest import Run

    from lmstrix.config import Places

COMMAND = str(Path(sys.executable).with_name("lmstrix"))
posix = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")


@pytest.fixture
def many(places: Places) -> None:
    """A store with more models than a pipe holds lines of."""
    models = tuple(
        Model(key=f"publisher/modèle-{n:05}", provider="embedded", server="embedded")
        for n in range(5000)
    )
    with Store.open(places.database) as store:
        store.record_listing("embedded", "embedded", Listing(models=models), at=1.0)


def shell(line: str, environ: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line.replace('lmstrix', COMMAND)}"],
        env=environ,
        capture_output=True,
        timeout=60,
        check=False,
    )


@posix
@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("show", ["table", "id", "json", "csv"])
def test_a_reader_that_has_enough_ends_it_without_noise(show: str, environ: dict[str, str]) -> None:
    done = shell(f"lmstrix list --show {show} | head -1", environ)
    assert done.stdout.count(b"\n") == 1
    assert (done.returncode, done.stderr) == (0, b"")


@posix
@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_failure_and_harm_no_file(
    closed: str, environ: dict[str, str], places: Places
) -> None:
    done = shell(f"lmstrix list {closed}", environ)
    assert (done.returncode, done.stderr) == (0, b"")
    with Store.open(places.database) as store:
        assert store.integrity() == ()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.usefixtures("many")
def test_a_full_disk_behind_the_output_is_said(environ: dict[str, str]) -> None:
    done = shell("lmstrix list > /dev/full", environ)
    assert done.returncode == 1
    assert done.stderr.decode().startswith("error: The output could not be written: No space")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.usefixtures("many")
def test_an_encoding_without_the_letters_shows_them_escaped(lmstrix: Run) -> None:
    done = lmstrix("list", "--show", "id", env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert done.returncode == 0
    assert done.stdout.startswith("publisher/mod\\xe8le-00000\n")


def test_a_fault_of_ours_is_one_line_and_a_hint(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("lmstrix.registry.parse_filter", broken)
    assert main(["list"]) == 1
    error = capsys.readouterr().err
    assert error.splitlines() == [
        "error: ZeroDivisionError: oh",
        "hint: This is a fault in LMStrix. Run again with --debug for the traceback.",
    ]
    assert main(["list", "--debug"]) == 1
    assert capsys.readouterr().err.startswith("Traceback")


def test_ctrl_c_at_any_moment_is_one_line_and_exit_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lmstrix.registry.parse_filter", interrupted)
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_the_output_of_a_pipe_has_no_colours_or_boxes(lmstrix: Run) -> None:
    done = lmstrix("doctor")
    assert "\x1b" not in done.stdout + done.stderr


def test_a_name_that_would_steer_the_terminal_does_not(
    places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = Model(key="a\x1b[2Jb", provider="embedded", server="embedded")
    with Store.open(places.database) as store:
        store.record_listing("embedded", "embedded", Listing(models=(evil,)), at=1.0)
    assert main(["list"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_input_is_read_from_the_given_stream_only_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"x {{text}}")))
    assert main(["infer", "-", "--text-file", "-"]) == 2
    assert "only once" in capsys.readouterr().err
