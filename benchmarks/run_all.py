"""Run every benchmark and write `docs/benchmarks.md`.

    python benchmarks/run_all.py [NAME ...]

With names, only those sections are measured anew; the others stay as they are in the file. Each
script prints its own table as markdown and can be run alone.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"


class Section(NamedTuple):
    """One table of the page: its heading, the command that makes it, what it is about."""

    title: str
    command: tuple[str, ...]
    about: str


SECTIONS = {
    "startup": Section(
        "Starting and listing",
        ("benchmarks/startup.py", "--markdown"),
        "Whole commands beside LMStrix 1.0.83, interleaved in one run: wall time and peak memory.",
    ),
    "streaming": Section(
        "Streaming",
        ("benchmarks/streaming.py", "--part", "overhead"),
        "What LMStrix adds to each token over the binding's own callback in a plain script, in the "
        "same run.",
    ),
    "rates": Section(
        "Streaming from a slower model",
        ("benchmarks/streaming.py", "--part", "rates"),
        "The rate beside the binding's own, with one request and with four at once.",
    ),
    "providers": Section(
        "Streaming from servers of others",
        ("benchmarks/providers.py",),
        "A fragment through our providers beside the clients of OpenAI and Ollama, from a scripted "
        "server in the same run; and what it costs to import each.",
    ),
    "gateway": Section(
        "The gateway",
        ("benchmarks/gateway.py",),
        "What `lmstrix serve` adds to a request and to each relayed chunk, before a scripted "
        "server, and to the first token of the engine; its memory; many clients. With "
        "LMSTRIX_BENCH_LITELLM=VENV the litellm proxy of that environment is asked in turn.",
    ),
    "lmstudio_gateway": Section(
        "The gateway as LM Studio",
        ("benchmarks/lmstudio_gateway.py", "--minutes", "5"),
        "What LM Studio's native protocol adds to the engine asked directly; 64 clients at once.",
    ),
    "lmstudio_client": Section(
        "The client of LM Studio",
        ("benchmarks/lmstudio_client.py",),
        "Our client of LM Studio's native protocol beside the official one, from a scripted server "
        "in the same run; then 1,000 streams at once on one client, round after round.",
    ),
    "context_search": Section(
        "Searching for what loads",
        ("benchmarks/context_search.py",),
        "A simulated world of 1,000 models; seeds are drawn anew each run.",
    ),
    "effective_search": Section(
        "Searching for what stays right",
        ("benchmarks/effective_search.py",),
        "Three times 1,000 simulated models whose answers get worse with length, from at once to "
        "gently, in four ways of which the search assumes one. Beside it, a hundred questions at "
        "every length of a grid a step apart, read by each length's own bounds or by the search's "
        "belief; `x fixed` is the part of that. The script says it all at its top.",
    ),
    "against_1x": Section(
        "Context tests beside LMStrix 1.0.83",
        ("benchmarks/against_1x.py",),
        "The same server for both: our gateway as LM Studio, with models whose limits are known. "
        "1.0.83 works with it as it is. Its command tries one size, and its halving, of which the "
        "command makes no use, asks for more than the models declare and believes what it gets.",
    ),
    "memory_model": Section(
        "Predicting memory",
        ("benchmarks/memory_model.py", "--markdown"),
        "Predicted beside what the engine really took, over configurations kept out of the "
        "model's making.",
    ),
    "header": Section(
        "Reading headers",
        ("benchmarks/header.py", "--markdown"),
        "A header with a vocabulary of 152,000 tokens.",
    ),
}

INTRO = """\
# Measured

Every figure here was printed by the script named above it, on the machine described below it;
`make bench` measures all of them anew. Timings on shared machines vary by a factor of two from run
to run: ratios within one run are what counts.
"""


def measure(section: Section) -> str:
    """The section's text, freshly measured."""
    begin = time.perf_counter()
    script = [sys.executable, *section.command]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(section.command)} failed:\n{done.stderr}")
    took = time.perf_counter() - begin
    return (
        f"{section.about}\n\n`python {' '.join(section.command)}` ({took:.0f} s)\n\n"
        f"{done.stdout.strip()}\n\n{machine()}\n"
    )


def machine() -> str:
    """Where and with what the figures were made, in one line."""
    return (
        f"*{time.strftime('%Y-%m-%d')}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, "
        f"xllamacpp {version('xllamacpp')}, lmstrix {version('lmstrix')}*"
    )


def sections_of(page: str) -> dict[str, str]:
    """The sections a page has, by heading."""
    parts = re.split(r"^## (.+)\n", page, flags=re.MULTILINE)[1:]
    return {title: text.strip() for title, text in zip(parts[::2], parts[1::2], strict=True)}


def main() -> None:
    """Measure what was asked for and write the page."""
    wanted = sys.argv[1:] or list(SECTIONS)
    kept = sections_of(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
    for name in wanted:
        section = SECTIONS[name]
        print(f"{section.title} …", file=sys.stderr, flush=True)
        kept[section.title] = measure(section).strip()
    ordered = [section.title for section in SECTIONS.values() if section.title in kept]
    body = "\n".join(f"## {title}\n\n{kept[title]}\n" for title in ordered)
    PAGE.write_text(f"{INTRO}\n{body}", encoding="utf-8")


if __name__ == "__main__":
    main()
