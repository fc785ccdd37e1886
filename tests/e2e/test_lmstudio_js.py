"""LM Studio's official JavaScript SDK against the installed command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = str(Path(sys.executable).with_name("lmstrix"))
SESSION = Path(__file__).parent / "lmstudio_js"


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A folder with the session and the SDK that it needs."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("Node.js with npm is not installed; the JavaScript SDK needs it")
    folder = tmp_path / "session"
    shutil.copytree(SESSION, folder)
    install = [npm, "install", "--no-audit", "--no-fund", "--loglevel=error"]
    # The cache of npm is in the user's home, and this test's home is another one.
    environ = {**os.environ, "npm_config_cache": str(folder / ".npm")}
    try:
        subprocess.run(
            install,
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm has not installed the JavaScript SDK within 100 s")
    except subprocess.CalledProcessError as failed:
        pytest.skip(f"npm cannot install the JavaScript SDK here: {failed.stderr[-300:]}")
    return folder


@pytest.fixture
def gateway(home: Path) -> Iterator[str]:
    """The address of a gateway before the shipped models."""
    environ = {
        **os.environ,
        "LMSTRIX_SHIPPED_MODELS": "true",
        "LMSTRIX_DISCOVER": "false",
        "LMSTRIX_EMBEDDED__THREADS": "1",
    }
    server = subprocess.Popen(
        [COMMAND, "serve", "--port", "0"], env=environ, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        yield server.stdout.readline().split(" at http://")[1].split()[0]
    finally:
        server.terminate()
        server.wait(30)
        server.stdout.close()


@pytest.fixture
def seen(node: Path, gateway: str) -> dict[str, Any]:
    """What the SDK saw in one session."""
    done = subprocess.run(
        ["node", "session.mjs", f"ws://{gateway}"],
        cwd=node,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def test_the_javascript_sdk_lists_loads_asks_acts_embeds_cancels_and_unloads(
    seen: dict[str, Any],
):
    assert set(seen["downloaded"]) >= {"tiny-chat", "tiny-embed"}
    assert seen["version"]["version"]
    assert seen["progress"][-1] == 1
    assert seen["loaded"] == ["tiny-chat"]
    assert seen["context"] == 2048
    assert seen["info"]["trainedForToolUse"] is True
    answer = seen["respond"]
    assert answer["text"] == answer["joined"] == "Warsaw."
    assert answer["stats"]["stopReason"] == "eosFound"
    assert answer["reading"][-1] == 1
    assert "Paris" in seen["chat"]
    assert seen["complete"]
    assert set(seen["structured"]) == {"name", "legs"}
    assert seen["act"]["rounds"] == 2
    assert len(seen["act"]["calls"]) == 1
    assert "42" in seen["act"]["said"][-1]
    assert seen["counted"] == len(seen["tokens"])
    assert "Hi there" in seen["template"]
    assert seen["cancelled"] == "userStopped"
    assert seen["embed"] == {"length": 96, "several": 2}
    assert seen["file"]["type"] == "image"
    assert seen["missing"] is True
    assert "no-such-model" in seen["refused"]
    assert seen["after"] == []
