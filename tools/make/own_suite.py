"""Run those tests of LM Studio's Python SDK that use only public names against our own client.

    LMSTUDIO_PYTHON=/path/to/lmstudio-python python tools/make/own_suite.py [--write]

The import is changed from `lmstudio` to `lmstrix.lmstudio`, and so are the names in `_PUBLIC`,
which are private there. Tests are copied into a folder of this run; one that looks inside the SDK
is left out, with what it looks at as the reason. The server is the gateway that `conformance`
starts, on the same fixed ports. With `--write` the results go into docs/compatibility.md, where
that page has its marks for them.
"""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from conformance import (  # type: ignore[import-not-found]  # it lies beside this
    CHECKOUT,
    PAGE,
    Verdict,
    busy_port,
    read_verdicts,
    serving,
    tag_of,
)

import lmstrix.lmstudio as lms

BEGIN, END = "<!-- results of our client -->", "<!-- end of results of our client -->"
FILES = (
    *(
        f"{flavour}/test_{name}_{flavour}.py"
        for flavour in ("async", "sync")
        for name in (
            "embedding",
            "images",
            "inference",
            "llm",
            "model_catalog",
            "model_handles",
            "repository",
        )
    ),
    "test_convenience_api.py",
    "test_default_values.py",
    "test_history.py",
    "test_inference.py",
    "test_timeouts.py",
)
# What the SDK's tests import from its inner modules, by what it is here. Whether a traceback is
# cut short at the SDK's border is a matter of the SDK alone.
_SUPPORT = """
from __future__ import annotations
import logging
import sys
import socket
from contextlib import closing
from pathlib import Path
from lmstrix.lmstudio.configs import LlmStructuredPredictionSetting
from lmstrix.lmstudio import BaseModel, LlmLoadModelConfig

{constants}

def check_sdk_error(*_, **__):
    pass

def find_free_local_port():
    with closing(socket.socket()) as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]

def closed_api_host():
    return f"localhost:{{find_free_local_port()}}"
"""
_SHIM = """
from lmstrix.lmstudio.async_models import AsyncModelHandle
from lmstrix.lmstudio.listing import Downloaded as DownloadedModelBase
from lmstrix.lmstudio.sync_models import SyncModelHandle

ModelHandleBase = (AsyncModelHandle, SyncModelHandle)
"""
_SHIMMED = {"DownloadedModelBase", "ModelHandleBase"}
# pytest has subtests of its own by now, under another name for the type.
_SUBTESTS = "from typing import Any as SubTests\n"
# What is private there and public here.
_PUBLIC = {
    "_create_handle": "handle",
    "_get_history": "to_dict",
    "_get_history_for_prediction": "to_dict",
    "_history": "data",
    "_messages": "messages",
    "_prepare_file": "prepare_file",
}


class LeftOut(NamedTuple):
    """A test that looks inside the SDK, and at what."""

    file: str
    name: str
    why: str


def main() -> int:
    """Run it; 1 where a test failed that does not depend on a model's words."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"update {PAGE.name}")
    options = parser.parse_args()
    checkout = Path(os.environ.get(CHECKOUT, "/nowhere")).resolve()
    if not (checkout / "tests" / "load_models.py").is_file():
        print(f"Skipped: set {CHECKOUT} to a checkout of lmstudio-python to run its tests.")
        return 0
    if (taken := busy_port()) is not None:
        print(f"Skipped: port {taken} is taken, perhaps by LM Studio. The suite needs it free.")
        return 0
    with tempfile.TemporaryDirectory(prefix="lmstrix-own-suite-") as name, serving(Path(name)):
        suite = Path(name) / "suite"
        left_out = copy_suite(checkout / "tests", suite)
        load_models()
        verdicts = run(suite, Path(name))
    table = report(verdicts, left_out, tag_of(checkout))
    print(table)
    if options.write:
        write(table)
    lost = [one for one in verdicts if not one.passed and one.kind != "words"]
    for one in lost:
        print(f"FAILED {one.file}::{one.name}")
    return 1 if lost or not verdicts else 0


def copy_suite(tests: Path, suite: Path) -> list[LeftOut]:
    """The tests that use public names alone, in `suite`; and the others."""
    left_out: list[LeftOut] = []
    (suite / "shims").mkdir(parents=True)
    (suite / "shims" / "json_api.py").write_text(_SHIM)
    (suite / "pytest_subtests.py").write_text(_SUBTESTS)
    (suite / "support").mkdir()
    (suite / "support" / "__init__.py").write_text(
        _SUPPORT.format(constants=constants(tests / "support" / "__init__.py"))
    )
    (suite / "support" / "files").mkdir()
    picture = tests / "support" / "files" / "lemmy.png"
    if not picture.is_file():
        picture = tests / "files" / "lemmy.png"
    (suite / "support" / "files" / "lemmy.png").write_bytes(picture.read_bytes())
    for file in FILES:
        module = ast.parse((tests / file).read_text(encoding="utf-8"))
        kept = []
        for node in module.body:
            why = looks_inside(node)
            if why and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                if node.name.lower().startswith("test"):
                    left_out.append(LeftOut(file, node.name, why))
                continue
            kept.append(changed(node))
        target = suite / f"test_{file.replace('/', '_').removesuffix('.py')}.py"
        target.write_text(ast.unparse(ast.fix_missing_locations(ast.Module(kept, []))))
    return left_out


def constants(support: Path) -> str:
    """The plain values and tools of the suite's support module."""
    wanted = (ast.Assign, ast.AnnAssign, ast.FunctionDef, ast.ClassDef)
    kept: list[ast.stmt] = []
    for node in ast.parse(support.read_text(encoding="utf-8")).body:
        name = getattr(node, "name", "")
        if not isinstance(node, wanted) or name in (
            "InvalidEndpoint",
            "check_sdk_error",
            "check_unfiltered_error",
            "nonresponsive_api_host",
            "find_free_local_port",
            "closed_api_host",
        ):
            continue
        kept.append(node)
    return ast.unparse(ast.Module(kept, []))


def looks_inside(node: ast.AST) -> str:
    """What of the SDK's inner parts a test uses; empty where it uses none."""
    for one in ast.walk(node):
        if isinstance(one, ast.Attribute) and one.attr in _PUBLIC:
            continue
        if isinstance(one, ast.Attribute) and one.attr[:1] == "_" != one.attr[1:2]:
            return f"`{one.attr}`"
        if isinstance(one, ast.Attribute) and one.attr in ("sync_api", "async_api"):
            return f"`{one.attr}`"
        if isinstance(one, ast.Name) and one.id in _INNER:
            return f"`{one.id}`"
    return ""


_INNER = {
    "_DEFAULT_TIMEOUT",
    "_FileHandleCache",
    "_LocalFileData",
    "_NO_DEFAULT",
    "_to_json_schema",
    "ChatResponseEndpoint",
    "LlmToolParameters",
    "_make_local_file_cache",
    "_make_prediction_result",
    "ToolCallRequestDataDict",
    "ToolCallResultDataDict",
}


def changed(node: ast.stmt) -> ast.stmt:
    """An import from the SDK as one from our client; what is inner is imported from nowhere."""
    for one in ast.walk(node):
        if isinstance(one, ast.Attribute):
            one.attr = _PUBLIC.get(one.attr, one.attr)
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        return ast.Assign([node.target], node.value)  # its type is a name of the SDK's inside
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lmstudio"):
        return from_client(node)
    if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("support"):
        node.level, node.module = 0, "support"
        node.names = [one for one in node.names if one.name != "InvalidEndpoint"]
    elif isinstance(node, ast.Import):
        for one in node.names:
            if one.name == "lmstudio":
                one.name, one.asname = "lmstrix.lmstudio", one.asname or "lmstudio"
    return node


def from_client(node: ast.ImportFrom) -> ast.stmt:
    """An import from our client of what it has of these names."""
    shimmed = [one for one in node.names if one.name in _SHIMMED]
    if shimmed:
        return ast.ImportFrom("shims.json_api", shimmed, 0)
    public = [one for one in node.names if one.name in lms.__all__]
    return ast.ImportFrom("lmstrix.lmstudio", public, 0) if public else ast.Pass()


def load_models() -> None:
    """Have loaded what the suite expects to be."""
    with lms.Client() as client:
        for key in ("llama-3.2-1b-instruct", "mobilevlm_v2-1.7b", "qwen2.5-7b-instruct-1m"):
            client.llm.load_new_instance(key, key, ttl=None)
        name = "text-embedding-nomic-embed-text-v1.5"
        client.embedding.load_new_instance(name, name, ttl=None)


def run(suite: Path, folder: Path) -> list[Verdict]:
    """Run what was copied."""
    xml = folder / "own.xml"
    (suite / "pytest.ini").write_text(
        "[pytest]\nmarkers =\n    lmstudio\n    slow\n    wip\n"
        "asyncio_default_fixture_loop_scope = function\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short"]
    environ = {**os.environ, "PYTHONPATH": str(suite), "HOME": str(folder / "home")}
    subprocess.run([*command, f"--junitxml={xml}"], cwd=suite, env=environ, check=False)
    verdicts: list[Verdict] = read_verdicts(xml)
    return verdicts


def report(verdicts: list[Verdict], left_out: list[LeftOut], tag: str) -> str:
    """The results as Markdown: file by file, then what is left out and why."""
    passed = sum(one.passed for one in verdicts)
    lines = [
        f"lmstudio-python {tag} on `lmstrix.lmstudio`: {passed} of {len(verdicts)} tests pass.",
        "",
        "| file | tests | pass |",
        "|---|---:|---:|",
    ]
    for file, count in sorted(Counter(original(one) for one in verdicts).items()):
        good = sum(one.passed for one in verdicts if original(one) == file)
        lines.append(f"| `{file}` | {count} | {good} |")
    lost = [one for one in verdicts if not one.passed]
    if lost:
        lines += ["", "Not passed, all for a model's words:" if words_only(lost) else "Not passed:"]
        lines += ["", *(f"- `{original(one)}::{one.name}`" for one in lost)]
    lines += ["", f"{len(left_out)} functions look inside the SDK and are left out:", ""]
    lines += ["| test | looks at |", "|---|---|"]
    lines += [f"| `{one.file}::{one.name}` | {one.why} |" for one in left_out]
    return "\n".join(lines)


def original(verdict: Verdict) -> str:
    """The file in the checkout that a test is from."""
    name: str = verdict.file.removeprefix("test_")
    for flavour in ("async", "sync"):
        if name.startswith(f"{flavour}_"):
            return f"{flavour}/{name.removeprefix(f'{flavour}_')}"
    return name


def words_only(lost: list[Verdict]) -> bool:
    """Whether what did not pass depends on what a particular model says."""
    return all(one.kind == "words" for one in lost)


def write(table: str) -> None:
    """Put the results where the page has its marks for them."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
