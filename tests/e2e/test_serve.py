"""The installed command as a server: started, used, told to end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Start = Callable[..., "Served"]

COMMAND = str(Path(sys.executable).with_name("lmstrix"))
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")


class Served:
    """A gateway process. `url` is what it prints first."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines = [process.stdout.readline()]
        self.url = self.lines[0].split(" at ")[1].split()[0]
        while "openapi" not in self.lines[-1]:
            self.lines.append(process.stdout.readline())

    def post(self, path: str, **body: object) -> dict[str, object]:
        request = urllib.request.Request(
            self.url + path,
            data=json.dumps(body).encode(),
            headers={"x-api-key": "secret", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def engines(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def environ(home: Path) -> dict[str, str]:
    return {
        **os.environ,
        "COLUMNS": "80",
        "LMSTRIX_SHIPPED_MODELS": "true",
        "LMSTRIX_DISCOVER": "false",
        "LMSTRIX_EMBEDDED__THREADS": "1",
    }


@pytest.fixture
def start(environ: dict[str, str], home: Path) -> Iterator[Start]:
    """`start("--alias", "a=b", TOKEN="secret")`: a gateway on any free port."""
    running: list[subprocess.Popen[str]] = []

    def run(*options: str, **more: str) -> Served:
        process = subprocess.Popen(
            [COMMAND, "serve", "--port", "0", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**environ, **more},
            cwd=home,
        )
        running.append(process)
        return Served(process)

    yield run
    for process in running:
        process.kill()
        process.communicate()


def test_programs_are_answered_and_a_name_of_theirs_means_a_model(start: Start):
    served = start("--alias", "claude-*=tiny-chat", "--alias", "gpt-x=tiny-chat")
    question = {
        "messages": [{"role": "user", "content": "What is the capital of Poland?"}],
        "max_tokens": 10,
        "temperature": 0,
    }
    anthropic = served.post("/v1/messages", model="claude-any", **question)
    assert anthropic["content"][0]["text"].startswith("Warsaw")
    openai = served.post("/v1/chat/completions", model="gpt-x", **question)
    assert openai["choices"][0]["message"]["content"].startswith("Warsaw")


def test_it_says_how_each_kind_of_program_is_pointed_to_it(start: Start):
    served = start()
    said = "".join(served.lines)
    assert "Serving 3 models" in said
    for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "OLLAMA_HOST", "LMSTUDIO_BASE_URL"):
        assert f"{name}={served.url}" in said


@POSIX
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_it_with_all_that_it_loaded(start: Start, number: int, code: int):
    served = start()
    question = [{"role": "user", "content": "Hi"}]
    served.post("/v1/messages", model="tiny-chat", max_tokens=2, messages=question)
    engines = served.engines()
    assert engines
    served.process.send_signal(number)
    _, said = served.process.communicate(timeout=30)
    assert served.process.returncode == code
    assert "Traceback" not in said
    assert psutil.wait_procs(engines, timeout=10)[1] == []


@POSIX
def test_answers_under_way_are_finished_before_it_ends(start: Start):
    served = start()
    connection = socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2])))
    with connection, connection.makefile("rb") as answer:
        body = json.dumps(
            {
                "model": "tiny-chat",
                "stream": True,
                "max_tokens": 300,
                "messages": [{"role": "user", "content": "Count to 100."}],
            }
        ).encode()
        connection.sendall(
            b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        while b"content_block_delta" not in answer.readline():
            pass
        served.process.send_signal(signal.SIGINT)
        assert b"message_stop" in answer.read()
    served.process.communicate(timeout=30)
    assert served.process.returncode == 130


def test_requests_are_shown_without_what_they_say(start: Start):
    served = start("--verbose")
    question = [{"role": "user", "content": "SECRET words"}]
    served.post("/v1/messages?key=SECRET", model="tiny-chat", max_tokens=2, messages=question)
    line = served.process.stderr.readline()
    assert line.startswith("POST /v1/messages 200 tiny-chat ")
    assert "SECRET" not in line


def test_a_token_is_needed_for_other_machines_and_comes_from_the_environment(start: Start):
    served = start("--host", "0.0.0.0", "--token-env", "GATE", GATE="secret")
    served.url = served.url.replace("0.0.0.0", "127.0.0.1")
    assert served.post("/v1/messages/count_tokens", model="tiny-chat",
                       messages=[{"role": "user", "content": "Hi"}])  # fmt: skip


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--host", "0.0.0.0"], 2, "a token is needed"),
        (["--token-env", "NOT_SET"], 2, "NOT_SET"),
        (["--alias", "a"], 2, "NAME=MODEL"),
        (["--alias", "a=no-such-model", "--port", "0"], 3, "no-such-model"),
    ],
)
def test_what_cannot_be_served_is_said_before_anything_is(
    environ: dict[str, str], home: Path, options: list[str], code: int, said: str
):
    done = subprocess.run(
        [COMMAND, "serve", *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environ,
        cwd=home,
    )
    assert done.returncode == code
    assert said in done.stderr


def test_a_port_that_is_taken_is_named(environ: dict[str, str], home: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [COMMAND, "serve", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=environ,
            cwd=home,
        )
    assert done.returncode == 1
    assert f"Port {port} of 127.0.0.1 cannot be used" in done.stderr
    assert "--port" in done.stderr
