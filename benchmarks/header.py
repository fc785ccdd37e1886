"""How long reading the header of a model with a 152,000-token vocabulary takes."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from models.headers import make_big_header

from lmstrix.gguf import file_identity, read_header


def _milliseconds(repetitions: int, path: Path) -> tuple[list[float], list[float]]:
    reading, naming = [], []
    for _ in range(repetitions):
        started = time.perf_counter()
        header = read_header(path)
        read = time.perf_counter()
        file_identity(header)
        reading.append((read - started) * 1000)
        naming.append((time.perf_counter() - read) * 1000)
    return reading, naming


def main() -> None:
    """Print median and best of both in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = make_big_header(Path(folder) / "big.gguf")
        reading, naming = _milliseconds(15, path)
    for what, times in (("read_header", reading), ("file_identity", naming)):
        print(f"{what:14} median {statistics.median(times):6.1f} ms, best {min(times):6.1f} ms")


if __name__ == "__main__":
    main()
