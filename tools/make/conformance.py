"""Run the test suite of LM Studio's official Python SDK against `lmstrix serve --as-lmstudio`.

    LMSTUDIO_PYTHON=/path/to/lmstudio-python make conformance

The checkout is read and never written. Small real models stand in for those that the suite names:
what depends on a model's own words is listed in `WORDS` and counted apart, everything else must
pass. With `--write` the results go into docs/compatibility.md. This run alone uses the fixed ports
on which LM Studio's SDKs look for it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
import venv
import xml.etree.ElementTree as ET
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from models.making import make_embedding, make_llama  # what tests make models with
from models.pacing import make_paced

from lmstrix.protocol.lmstudio import DISCOVERY_PORTS

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = "LMSTUDIO_PYTHON"
ROOT = Path(__file__).parents[2]
HOME = ROOT / ".conformance"
PAGE = ROOT / "docs" / "compatibility.md"
BEGIN, END = "<!-- results of the Python suite -->", "<!-- end of results -->"
TOOLS = ("pytest<9", "pytest-asyncio", "pytest-subtests", "pydantic")
SERVE_S = 60.0

# Tests whose verdict depends on what a particular model says, by the words it must say.
WORDS = {
    "test_respond_past_history": "repeats `Hello, world!` exactly",
    "test_tool_using_agent": "calls a tool with 123 and 3210, then says 3333",
    "test_tool_using_agent_callbacks": "says something, then calls a tool, in each round",
    "test_tool_using_agent_error_handling": "calls a tool, then explains division by zero",
    "test_vlm_predict": "sees a picture and says `purple` or `image`",
    "test_vlm_predict_image_param": "sees a picture and says `purple` or `image`",
    "test_connect_and_predict": "asks something back (`?`)",
    "test_concurrent_predictions": "says `I am a robot` or `I cannot repeat`",
}


class Verdict(NamedTuple):
    """One test: its file, its name, and whether it passed."""

    file: str
    name: str
    passed: bool

    @property
    def function(self) -> str:
        """The name without parameters and without `_async` or `_sync`."""
        return self.name.partition("[")[0].removesuffix("_async").removesuffix("_sync")

    @property
    def kind(self) -> str:
        """`words`, `repository`, `plugins` or `structure`."""
        if self.function in WORDS:
            return "words"
        if "test_repository" in self.file:
            return "repository"
        return "plugins" if "test_plugin_examples" in self.file else "structure"


def main() -> int:
    """Run it; 1 where a test failed that must pass."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"update {PAGE.name}")
    options = parser.parse_args()
    found = checkout()
    if found is None:
        return 0
    python = prepare(found)
    with (
        tempfile.TemporaryDirectory(prefix="lmstrix-conformance-") as folder,
        serving(Path(folder)),
    ):
        verdicts = run(python, found, Path(folder))
    table = report(verdicts, tag_of(found))
    print(table)
    if options.write:
        write(table, BEGIN, END)
    lost = [one for one in verdicts if not one.passed and one.kind != "words"]
    for one in lost:
        print(f"FAILED {one.file}::{one.name}")
    return 1 if lost or not verdicts else 0


def checkout() -> Path | None:
    """The checkout of the suite; `None`, having said why, where it cannot be run."""
    named = os.environ.get(CHECKOUT)
    if not named:
        print(f"Skipped: set {CHECKOUT} to a checkout of lmstudio-python to run its tests.")
        return None
    folder = Path(named).resolve()
    if not (folder / "tests" / "load_models.py").is_file():
        print(f"Skipped: {folder} is no checkout of lmstudio-python with its tests.")
        return None
    if (taken := busy_port()) is not None:
        print(f"Skipped: port {taken} is taken, perhaps by LM Studio. The suite needs it free.")
        return None
    return folder


def busy_port() -> int | None:
    """The first of the fixed ports on which somebody listens."""
    for port in DISCOVERY_PORTS:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return port
    return None


def prepare(checkout: Path) -> Path:
    """An environment of its own with what the SDK and its tests need, made once."""
    folder = HOME / "venv"
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        print("Making an environment for the suite …", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))
        needs = [*project["project"]["dependencies"], *TOOLS]
        pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, *needs], check=True)
    return python


def make_models(folder: Path) -> None:
    """Models under the names and paths that the suite asks for, and one that can be fetched."""
    chat = ROOT / "src" / "lmstrix" / "shipped" / "tiny-chat.gguf"
    there, offered = folder / "models", folder / "offered"
    copied = {
        "lmstudio-community/Qwen2.5-7B-Instruct-1M-GGUF/qwen2.5-7b-instruct-1m.gguf",
        "ZiangWu/MobileVLM_V2-1.7B-GGUF/mobilevlm_v2-1.7b.gguf",
    }
    main_model = there / "hugging-quants/Llama-3.2-1B-Instruct-GGUF/llama-3.2-1b-instruct.gguf"
    small = there / "bartowski/SmolLM2-135M-Instruct-GGUF/smollm2-135m-instruct.gguf"
    vectors = (
        there / "nomic-ai/nomic-embed-text-v1.5-GGUF/text-embedding-nomic-embed-text-v1.5.gguf"
    )
    fetched = offered / "bartowski/SmolLM2-135M-Instruct-GGUF/smollm2-135m-instruct-F16.gguf"
    for path in (*(there / name for name in copied), main_model, small, vectors, fetched):
        path.parent.mkdir(parents=True, exist_ok=True)
    for name in copied:
        shutil.copy(chat, there / name)
    # Slow enough that an answer can be cancelled, and sure enough not to babble by chance.
    make_paced(main_model, source=chat, certainty=8)
    make_llama(small)
    make_llama(fetched, seed=1)
    make_embedding(vectors, context_tokens=2048, marked=True)


@contextmanager
def serving(folder: Path) -> Iterator[None]:
    """A gateway on one of the fixed ports while the block runs."""
    make_models(folder)
    home = folder / "home"
    home.mkdir()
    (home / "config.toml").write_text(
        f"discover = false\nmodel_folders = [{str(folder / 'models')!r}]\n", encoding="utf-8"
    )
    command = Path(sys.executable).parent / "lmstrix"
    told = ["serve", "--as-lmstudio", "--port", "0", "--repository", str(folder / "offered")]
    log = (folder / "serve.log").open("wb")
    environ = {**os.environ, "LMSTRIX_HOME": str(home), "HOME": str(home)}
    server = subprocess.Popen([command, *told], env=environ, stdout=log, stderr=log)
    try:
        wait_for_greeting(server, folder / "serve.log")
        yield
    finally:
        server.terminate()
        server.wait(30)
        log.close()


def wait_for_greeting(server: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the gateway answers where the SDK looks first."""
    url = f"http://127.0.0.1:{DISCOVERY_PORTS[0]}/lmstudio-greeting"
    until = time.monotonic() + SERVE_S
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"The gateway did not come up:\n{log.read_text(errors='replace')}")


def run(python: Path, checkout: Path, folder: Path) -> list[Verdict]:
    """Load the models that the suite expects to be loaded, then run what needs a server."""
    environ = {
        **os.environ,
        "PYTHONPATH": str(checkout / "src"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(folder / "home"),
    }
    load = [str(python), "-m", "tests.load_models"]
    subprocess.run(load, cwd=checkout, env=environ, check=True, stdout=subprocess.DEVNULL)
    xml = folder / "results.xml"
    # The cache of pytest would be in the checkout.
    suite = ["-m", "pytest", "-q", "-m", "lmstudio", "-p", "no:cacheprovider", "--tb=line"]
    subprocess.run(
        [str(python), *suite, f"--junitxml={xml}"], cwd=checkout, env=environ, check=False
    )
    return read_verdicts(xml)


def read_verdicts(xml: Path) -> list[Verdict]:
    """Every test once; one with several entries passed when all of them did."""
    passed: dict[tuple[str, str], bool] = {}
    for case in ET.parse(xml).iter("testcase"):  # noqa: S314  # written by the line above
        key = case.get("classname", ""), case.get("name", "")
        bad = any(case.find(kind) is not None for kind in ("failure", "error", "skipped"))
        passed[key] = passed.get(key, True) and not bad
    return [
        Verdict(module.removeprefix("tests.").replace(".", "/") + ".py", name, good)
        for (module, name), good in passed.items()
    ]


def tag_of(checkout: Path) -> str:
    """What is checked out."""
    told = subprocess.run(
        ["git", "describe", "--tags", "--always"],  # noqa: S607  # the one in use here
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip() or "an unknown version"


def report(verdicts: list[Verdict], tag: str) -> str:
    """The results as Markdown: file by file, and the tests that depend on words one by one."""
    passed = sum(one.passed for one in verdicts)
    lines = [
        f"lmstudio-python {tag}: {passed} of {len(verdicts)} tests that need a server pass.",
        "",
        "| kind | tests | pass |",
        "|---|---:|---:|",
    ]
    for kind, name in (
        ("structure", "protocol and structure"),
        ("repository", "search and download"),
        ("plugins", "plugins"),
        ("words", "words of a particular model"),
    ):
        of_kind = [one for one in verdicts if one.kind == kind]
        lines.append(f"| {name} | {len(of_kind)} | {sum(one.passed for one in of_kind)} |")
    lines += ["", "| file | tests | pass | of these, words | pass |", "|---|---:|---:|---:|---:|"]
    for file, count in sorted(Counter(one.file for one in verdicts).items()):
        of_file = [one for one in verdicts if one.file == file]
        words = [one for one in of_file if one.kind == "words"]
        lines.append(
            f"| `{file}` | {count} | {sum(one.passed for one in of_file)} | "
            f"{len(words) or ''} | {sum(one.passed for one in words) if words else ''} |"
        )
    lines += ["", "| depends on words | what the model must do | passes |", "|---|---|---|"]
    for one in sorted(one for one in verdicts if one.kind == "words"):
        verdict = "yes" if one.passed else "no"
        lines.append(f"| `{one.file}::{one.name}` | {WORDS[one.function]} | {verdict} |")
    return "\n".join(lines)


def write(table: str, begin: str, end: str) -> None:
    """Put results where the page has these marks for them."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    PAGE.write_text(f"{before}{begin}\n\n{table}\n\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
