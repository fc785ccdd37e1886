"""The installed command before a gateway of its own kind, spoken to as LM Studio is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import lmstrix.lmstudio as lms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COMMAND = str(Path(sys.executable).with_name("lmstrix"))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of `lmstrix serve` with the shipped models and a home of its own."""
    environ = {
        **os.environ,
        "LMSTRIX_HOME": str(tmp_path / "server"),
        "LMSTRIX_SHIPPED_MODELS": "true",
        "LMSTRIX_DISCOVER": "false",
        "LMSTRIX_EMBEDDED__THREADS": "1",
    }
    with subprocess.Popen(
        [COMMAND, "serve", "--port", "0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=environ,
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split(" at ")[1].split()[0]
        process.terminate()
        process.stdout.read()


@pytest.fixture
def ask(served: str, home: Path) -> Callable[..., str]:
    """`ask("scan")`: the command's output, with that server as its only place of models."""
    (home / "lmstrix").mkdir(exist_ok=True)
    (home / "lmstrix" / "config.toml").write_text(
        f'discover = false\n[embedded]\nenabled = false\n[servers.there]\nurl = "{served}"\n'
        'provider = "lmstudio"\n'
    )

    def call(*arguments: str) -> str:
        done = subprocess.run(
            [COMMAND, *arguments],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd=home,
            env={**os.environ, "COLUMNS": "80"},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


def test_models_are_scanned_asked_and_tested_and_a_users_instance_stays_as_it_was(
    ask: Callable[..., str], served: str
) -> None:
    with lms.Client(served) as user:
        theirs = user.llm.load_new_instance(
            "tiny-chat", "theirs", ttl=1234, config={"contextLength": 640}
        )
        before = theirs.get_info().to_dict()
        assert "3 models" in ask("scan")
        assert ask("infer", "Capital of Poland?", "-m", "tiny-chat").strip() == "Warsaw."
        assert "theirs" in ask("ps")
        found = json.loads(ask("test", "tiny-chat", "--ctx", "512", "--format", "json"))
        told = json.dumps(found)
        assert '"completed"' in told
        assert "512 tokens load" in told
        after = theirs.get_info().to_dict()
        for info in (before, after):
            info.pop("lastUsedTime", None)
        assert before == after
        assert [one.identifier for one in user.llm.list_loaded()] == ["theirs"]


def test_a_model_is_loaded_and_unloaded_there_by_the_command(
    ask: Callable[..., str], served: str
) -> None:
    ask("scan")
    assert "1,024" in ask("load", "tiny-chat", "--in-ctx", "1024", "--id", "mine")
    with lms.Client(served) as user:
        assert user.llm.handle("mine").get_context_length() == 1024
        assert "mine" in ask("unload", "mine")
        assert list(user.llm.list_loaded()) == []
