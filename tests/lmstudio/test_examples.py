"""The examples run, against our gateway instead of LM Studio."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "lmstudio"
_SAID = {"chat_with_history": "Hello\nWho are you?\n\n"}
# Nothing but where LM Studio is looked for: only one test run at a time may use its own ports.
_RUN = """
import runpy, sys
from lmstrix.lmstudio import greeting
from lmstrix.lmstudio.addresses import Address
for find in (greeting.find_usual, greeting.find_usual_async):
    find.__defaults__ = ((Address.parse(sys.argv[1]),),)
runpy.run_path(sys.argv[2], run_name="__main__")
"""


@pytest.mark.parametrize("example", sorted(_EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_the_example_runs(example: Path, gateway: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _RUN, gateway, str(example)],
        input=_SAID.get(example.stem, ""),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert done.stderr == ""


def test_there_are_examples() -> None:
    assert len(list(_EXAMPLES.glob("*.py"))) > 10
