"""Predicted against real memory of the engine, on models that were not used to fit the model.

Each configuration loads in a process of its own, fills every sequence's context with a prompt,
and is compared with the buffers the engine reports and with the process's resident memory.
`--markdown` prints the table for the documentation.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

if TYPE_CHECKING or "--child" not in sys.argv:
    # Not in the children: what they hold besides the engine should be little and known.
    import psutil

    from lmstrix.gguf import MemoryModel, MemoryNeed, read_header
    from lmstrix.types import LoadConfig

MIB = 2**20
CHECKPOINTS = 4


class Case(NamedTuple):
    """A model to make (`maker` of `tests/models/making.py` with `shape`) and how to load it."""

    maker: str
    shape: dict[str, Any]
    load: dict[str, Any]


_LLAMA = {"layers": 3, "width": 384, "heads": 6, "kv_heads": 2, "inner": 1152, "vocabulary": 3000}
_GEMMA = {"layers": 8, "width": 320, "heads": 5, "kv_heads": 1, "head": 64, "inner": 1600}
_LATENT = {"layers": 4, "width": 448, "heads": 7, "latent": 96, "rotary": 32, "inner": 896}
_HYBRID = {"layers": 6, "width": 384, "heads": 6, "kv_heads": 3, "inner": 960}
_Q8 = {"kv_type_k": "q8_0", "kv_type_v": "q8_0"}  # MLA takes no two types
_LFM = {**_HYBRID, "family": "lfm2"}

CASES = [
    *(
        Case("llama", _LLAMA, {"context_tokens": 3000, "kv_type_k": kind, "kv_type_v": kind})
        for kind in ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
    ),
    Case("llama", _LLAMA, {"context_tokens": 700, "parallel": 3}),
    Case("llama", _LLAMA, {"context_tokens": 2048, "flash_attention": False}),
    Case("llama", _LLAMA, {"context_tokens": 1500, "kv_type_k": "q5_1", "flash_attention": False}),
    Case("llama", _LLAMA, {"context_tokens": 4096, "batch_tokens": 192}),
    Case("llama", {**_LLAMA, "inner": 3000, "heads": 12}, {"context_tokens": 2500}),
    Case("llama", {**_LLAMA, "kv_heads": 6, "weights": "q8_0"}, {"context_tokens": 2500}),
    Case(
        "llama",
        {**_LLAMA, "layers": 24, "width": 512, "heads": 8, "weights": "q4_k", "inner": 1536},
        {"context_tokens": 2000},
    ),
    Case("llama", {**_LLAMA, "weights": "q4_0", "tied": False}, {"context_tokens": 1200}),
    Case("llama", {**_LLAMA, "vocabulary": 100_000}, {"context_tokens": 1000, "parallel": 2}),
    Case("llama", {**_LLAMA, "normed": True, "head": 96}, {"context_tokens": 2300}),
    Case("llama", {**_LLAMA, "experts": 6, "inner": 576}, {"context_tokens": 1800}),
    Case(
        "llama",
        {**_LLAMA, "normed": True, "experts": 24, "experts_used": 6, "inner": 128},
        {"context_tokens": 1800},
    ),
    Case("sliding", {**_GEMMA, "window": 640}, {"context_tokens": 6000}),
    Case("sliding", {**_GEMMA, "window": 640}, {"context_tokens": 2000, "parallel": 3}),
    Case("sliding", {**_GEMMA, "window": 384}, {"context_tokens": 3000, "flash_attention": False}),
    Case("sliding", {**_GEMMA, "family": "gemma2"}, {"context_tokens": 3500, "kv_type_k": "q8_0"}),
    Case("sliding", {**_GEMMA, "family": "gemma2"}, {"context_tokens": 2500, "batch_tokens": 96}),
    Case("latent", _LATENT, {"context_tokens": 3000}),
    Case("latent", _LATENT, {"context_tokens": 1500, "parallel": 2, **_Q8}),
    Case("latent", {**_LATENT, "heads": 14}, {"context_tokens": 1800, "flash_attention": False}),
    Case("recurrent", {"layers": 5, "width": 448}, {"context_tokens": 5000}),
    Case("recurrent", {"width": 320, "state": 24}, {"context_tokens": 900, "parallel": 5}),
    Case("hybrid", _HYBRID, {"context_tokens": 4000}),
    Case("hybrid", _HYBRID, {"context_tokens": 1000, "parallel": 4, "kv_type_v": "q5_0"}),
    Case("hybrid", _LFM, {"context_tokens": 5000}),
    Case("hybrid", {**_LFM, "inner": 400}, {"context_tokens": 1100, "parallel": 2}),
    Case("embedding", {"width": 384, "heads": 6, "inner": 1536}, {"context_tokens": 512}),
    Case("embedding", {"layers": 6, "inner": 2048}, {"context_tokens": 512}),
]


class Measured(NamedTuple):
    """What the engine reported, and the process's resident memory when full; bytes."""

    model: float
    kv: float
    recurrent: float
    compute: float
    resident: float


def measure(path: Path, load: dict[str, Any]) -> Measured:
    """Load and fill the model at `path` in a process of its own."""
    with tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, __file__, "--child", str(path), json.dumps(load)]
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
        with child:
            assert child.stdout is not None
            full = child.stdout.readline()
            resident = psutil.Process(child.pid).memory_info().rss if full else 0
        log.seek(0)
        said = log.read()
    if not full:
        raise SystemExit(f"{path.name} {load}\n{said[-2000:]}")

    def reported(what: str) -> float:
        found = re.findall(rf" {what} buffer size = +([\d.]+) MiB", said)
        return sum(float(size) for size in found) * MIB

    return Measured(
        reported("model"), reported("KV"), reported("RS"), reported("compute"), float(resident)
    )


def _child(path: str, load: dict[str, Any]) -> None:
    """Fill the model, say so, and stay until the other side of stdin is closed."""
    import xllamacpp  # its log belongs to this process

    parallel = load.get("parallel", 1)
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_parallel = parallel
    params.n_ctx = load["context_tokens"] * parallel
    if batch := load.get("batch_tokens"):
        params.n_batch = params.n_ubatch = batch
    for side in ("k", "v"):
        if kind := load.get(f"kv_type_{side}"):
            setattr(params, f"cache_type_{side}", xllamacpp.ggml_type[f"GGML_TYPE_{kind.upper()}"])
    if load.get("flash_attention") is False:
        kinds = xllamacpp.llama_flash_attn_type
        params.flash_attn_type = kinds.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.embedding = "embedding" in Path(path).name
    params.cpuparams.n_threads = 1  # more spin against each other on a busy machine
    params.cache_ram_mib = 0
    params.n_ctx_checkpoints = CHECKPOINTS
    params.ui = params.fit_params = False
    params.verbosity = 4
    server = xllamacpp.Server(params)

    def fill(sequence: int) -> Any:
        tokens = [100 + (i * 7 + sequence) % 800 for i in range(load["context_tokens"] - 10)]
        if params.embedding:
            return server.handle_embeddings({"input": tokens})
        return server.handle_completions(
            {"prompt": tokens, "max_tokens": 4, "ignore_eos": True, "cache_prompt": False}
        )

    with ThreadPoolExecutor(parallel) as pool:
        for answer in pool.map(fill, range(parallel)):
            if "error" in answer:
                raise SystemExit(str(answer["error"]))
    print("full", flush=True)
    sys.stdin.read()


def _row(case: Case, need: MemoryNeed, real: Measured) -> list[str]:
    shape = " ".join(f"{key} {value}" for key, value in case.load.items())
    return [
        f"{case.shape.get('family', case.maker)}",
        shape.replace("context_tokens", "ctx").replace("_tokens", "").replace("kv_type_", ""),
        f"{need.kv_bytes / MIB:.2f} / {real.kv / MIB:.2f}",
        f"{need.recurrent_bytes / MIB:.2f} / {real.recurrent / MIB:.2f}",
        f"{need.weights_bytes / MIB:.2f} / {real.model / MIB:.2f}",
        f"{need.compute_bytes / MIB:.2f} / {real.compute / MIB:.2f}",
        f"{need.total_bytes / MIB:.1f} / {real.resident / MIB:.1f}",
        f"{need.total_bytes / real.resident - 1:+.1%}",
    ]


def main() -> None:
    """Measure every case; print each as it is done, then the worst errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--only", type=int, help="so many cases")
    options = parser.parse_args()
    from models import making  # numpy is not for the children

    separator = " | " if options.markdown else "  "
    heads = ["model", "loaded with", "KV", "state", "weights", "compute", "total / RSS", "error"]
    print(separator.join(heads))
    if options.markdown:
        print(separator.join("---" for _ in heads))
    pairs: list[tuple[MemoryNeed, Measured]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(CASES[: options.only]):
            path = Path(folder) / f"{case.maker}-{number}.gguf"
            getattr(making, f"make_{case.maker}")(path, **case.shape, seed=number)
            model = MemoryModel(read_header(path), checkpoints=CHECKPOINTS)
            need, real = model.need(LoadConfig(**case.load)), measure(path, case.load)
            path.unlink()
            pairs.append((need, real))
            print(separator.join(_row(case, need, real)), flush=True)
    print(f"\n{len(pairs)} configurations; predicted / real in MiB. Worst errors:")
    for what, errors in {
        "KV cache": [(n.kv_bytes - r.kv, r.kv) for n, r in pairs],
        "recurrent state": [(n.recurrent_bytes - r.recurrent, r.recurrent) for n, r in pairs],
        "weights": [(n.weights_bytes - r.model, r.model) for n, r in pairs],
        "compute buffer": [(n.compute_bytes - r.compute, r.compute) for n, r in pairs],
        "total, of resident": [(n.total_bytes - r.resident, r.resident) for n, r in pairs],
    }.items():
        _print_worst(what, errors)


def _print_worst(what: str, errors: list[tuple[float, float]]) -> None:
    # The engine prints hundredths of a MiB: of less than one MiB, a share says nothing.
    relative = [off / real for off, real in errors if real >= MIB] or [0.0]
    over, under = max(relative), min(relative)
    most = max((off for off, _ in errors), key=abs)
    print(f"- {what}: {under:+.1%} to {over:+.1%}, at most {most / MIB:+.2f} MiB")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _child(sys.argv[2], json.loads(sys.argv[3]))
    else:
        main()
