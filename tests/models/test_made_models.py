from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from models.making import make_hybrid, make_llama, make_sliding

if TYPE_CHECKING:
    from pathlib import Path

    from models.fixtures import Maker

RUN = """
import json, os, sys, time, xllamacpp
path, embedding = json.loads(sys.argv[1])
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.embedding = path, 512, embedding
params.verbosity, params.ui, params.fit_params, params.cache_ram_mib = 0, False, False, 0
params.cpuparams.n_threads = 1
server = xllamacpp.Server(params)
if embedding:
    answer = server.handle_embeddings({"input": "the cat sat"})
else:
    answer = server.handle_completions({"prompt": "the cat", "max_tokens": 6, "ignore_eos": True})
print(json.dumps(answer), flush=True)
os._exit(0)
"""


def answer_of(path: Path, *, embedding: bool = False) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps([str(path), embedding])],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "name",
    [
        "llama_file", "slow_file", "sliding_file", "latent_file", "recurrent_file", "hybrid_file",
        "split_file",
    ],
)  # fmt: skip
def test_each_model_generates_in_the_real_engine(name: str, request: pytest.FixtureRequest) -> None:
    answer = answer_of(request.getfixturevalue(name))
    assert answer["usage"]["completion_tokens"] == 6


@pytest.mark.parametrize(
    ("maker", "shape"),
    [
        (make_llama, {"experts": 4}),
        (make_llama, {"normed": True}),
        (make_llama, {"normed": True, "experts": 4}),
        (make_sliding, {"family": "gemma2"}),
        (make_hybrid, {"family": "lfm2"}),
    ],
)
def test_each_sibling_generates_too(made: Maker, maker: Maker, shape: dict) -> None:
    assert answer_of(made(maker, **shape))["usage"]["completion_tokens"] == 6


def test_the_embedding_model_gives_768_dimensions(embedding_file: Path) -> None:
    vector = answer_of(embedding_file, embedding=True)["data"][0]["embedding"]
    assert len(vector) == 768
    assert sum(x * x for x in vector) == pytest.approx(1, abs=1e-3)


def test_the_slow_model_is_small(slow_file: Path) -> None:
    assert slow_file.stat().st_size < 60e6


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    files = []
    for folder, seed in (("a", 5), ("b", 5), ("c", 6)):
        (tmp_path / folder).mkdir()
        files.append(make_llama(tmp_path / folder / "m.gguf", seed=seed))
    first, second, other = files
    assert first.read_bytes() == second.read_bytes() != other.read_bytes()
