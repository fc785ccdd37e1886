"""Starting and listing, beside LMStrix 1.0.83, interleaved in one run.

    python benchmarks/startup.py [--models N] [--rounds N] [--peer PYTHON] [--markdown]

Both know the same generated models: the peer from a `lmstrix.json` in a home folder of its own,
ours from the same file through `lmstrix registry import`. The peer is installed into a virtual
environment below a temporary folder, or taken from the one whose PYTHON is named. No LM Studio
runs, which is the peer's best case: with one, its `list` scans first.

Figures are medians over the rounds of whole processes, wall time and peak resident memory as
the kernel counted them (`wait4`; Linux and macOS). Each output must name every model.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import NamedTuple

PEER = "lmstrix==1.0.83"


class Case(NamedTuple):
    """One command, the same for both; the most that ours may take as a share of the peer's."""

    name: str
    arguments: tuple[str, ...]
    names_models: bool
    wall_target: float | None = None
    memory_target: float | None = None


CASES = (
    Case("--help", ("--help",), names_models=False, wall_target=0.5),
    Case("list", ("list",), names_models=True, wall_target=0.1, memory_target=0.5),
    Case("list --show json", ("list", "--show", "json"), names_models=True),
    Case("list --show id", ("list", "--show", "id"), names_models=True),
)


class Program(NamedTuple):
    """A command with the environment that leads it to its models."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]


class Run(NamedTuple):
    """What one process took."""

    wall_s: float
    peak_mib: float


def write_registry(path: Path, models: int) -> None:
    """A registry as 1.0.83 writes it: a third of the models tested, a tenth failed."""
    with path.open("w", encoding="utf-8") as file:
        file.write('{\n  "llms": {\n')
        for number in range(models):
            name = (
                f"acme-{number % 97}/model-{number:05}-instruct-GGUF/model-{number:05}-Q4_K_M.gguf"
            )
            comma = "," if number < models - 1 else ""
            file.write(f"    {json.dumps(name)}: {json.dumps(_record(number, name))}{comma}\n")
        file.write("  }\n}\n")


def _record(number: int, path: str) -> dict[str, object]:
    tested, failed = number % 3 == 0, number % 10 == 1
    declared = 4096 << number % 8
    return {
        "id": f"acme-{number % 97}/model-{number:05}-instruct",
        "path": path,
        "size_bytes": 300_000_000 + number * 3_000_000,
        "ctx_in": declared,
        "ctx_out": 4096,
        "has_tools": number % 2 == 0,
        "has_vision": number % 5 == 0,
        "capabilities": {"vision": number % 5 == 0, "trained_for_tool_use": number % 2 == 0},
        "tested_max_context": min(declared, 31_744) if tested else None,
        "context_test_status": "completed" if tested else "failed" if failed else "untested",
        "context_test_date": "2025-08-01T12:00:00" if tested or failed else None,
        "ttft_seconds": 0.25 if tested else None,
        "tps": 20.0 + number % 60 if tested else None,
        "description": None,
        "keywords": ["arch-llama", "proc-chat"],
        "last_known_good_context": min(declared, 31_744) if tested else None,
        "last_known_bad_context": None,
    }


def install_peer(folder: Path) -> Path:
    """The Python of a fresh environment that has the peer."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    quiet = ("--quiet", "--disable-pip-version-check")
    subprocess.run((python, "-m", "pip", "install", *quiet, PEER), check=True)
    return python


def programs(folder: Path, models: int, peer_python: Path) -> tuple[Program, Program]:
    """Ours and the peer's, both knowing `models` models."""
    home, lmstudio = folder / "home", folder / "lmstudio"
    (lmstudio / "models").mkdir(parents=True)
    home.mkdir()
    (home / ".lmstudio-home-pointer").write_text(f"{lmstudio}\n")
    write_registry(lmstudio / "lmstrix.json", models)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "COLUMNS": "160"}
    ours = Program(
        "ours",
        (str(Path(sys.executable).with_name("lmstrix")),),
        {**environment, "LMSTRIX_HOME": str(folder / "ours")},
    )
    subprocess.run(
        (*ours.command, "registry", "import"), env=ours.environment, check=True, stdout=sys.stderr
    )
    return ours, Program("peer", (str(peer_python.with_name("lmstrix")),), environment)


def measure(program: Program, case: Case, output: Path, models: int) -> Run:
    """Run one command. Raises `RuntimeError` when it failed or left models out."""
    with output.open("wb") as file:
        began = time.perf_counter()
        # This process stays small: a child's peak starts with what its parent held at the fork.
        process = subprocess.Popen(
            (*program.command, *case.arguments),
            env=program.environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{program.name} {case.name}: exit {process.returncode}")
    if case.names_models:
        with output.open(encoding="utf-8") as lines:
            named = sum(line.count("-instruct") > 0 for line in lines)
        if named < models:
            raise RuntimeError(f"{program.name} {case.name}: {named} of {models} models")
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(wall_s, usage.ru_maxrss * unit / 2**20)


def report(case: Case, ours: list[Run], peer: list[Run]) -> str:
    """One row: medians, ratios, and whether the targets are met."""
    our_s, peer_s = (statistics.median(run.wall_s for run in runs) for runs in (ours, peer))
    our_mib, peer_mib = (statistics.median(run.peak_mib for run in runs) for runs in (ours, peer))
    wall = _ratio(our_s / peer_s, case.wall_target)
    memory = _ratio(our_mib / peer_mib, case.memory_target)
    return (
        f"| `{case.name}` | {our_s:.3f} s | {peer_s:.3f} s | {wall}"
        f" | {our_mib:.0f} MiB | {peer_mib:.0f} MiB | {memory} |"
    )


def _ratio(ratio: float, target: float | None) -> str:
    if target is None:
        return f"{ratio:.3f}"
    return f"{ratio:.3f} ({'met' if ratio <= target else 'MISSED'}: at most {target})"


def main() -> None:
    """Measure and print the table as markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peer", type=Path, help="Python of an environment that has the peer")
    parser.add_argument("--markdown", action="store_true", help="the only form there is")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lmstrix-startup-") as name:
        folder = Path(name)
        pair = programs(folder, given.models, given.peer or install_peer(folder / "peer"))
        taken: dict[tuple[str, str], list[Run]] = {}
        for round_number in range(given.rounds + 1):
            for case in CASES:
                for program in pair if round_number % 2 else reversed(pair):
                    run = measure(program, case, folder / "output", given.models)
                    if round_number:  # the first fills caches
                        taken.setdefault((program.name, case.name), []).append(run)
        print(f"{given.models:,} models, medians of {given.rounds} rounds, peer {PEER}\n")
        print("| command | ours | 1.0.83 | ratio | ours, peak | 1.0.83, peak | ratio |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        for case in CASES:
            print(report(case, taken["ours", case.name], taken["peer", case.name]))


if __name__ == "__main__":
    main()
