"""The logs here are what real engines wrote as they failed."""

from __future__ import annotations

import pytest

from lmstrix.engine.deaths import explain, why_not_loaded

NO_MEMORY = """\
0.00.012.563 I llama_context:        CPU  output buffer size =     0.00 MiB
0.00.015.524 E ggml_aligned_malloc: insufficient memory (attempted to allocate 128.00 MB)
0.00.015.561 E ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 134217728
0.00.016.370 E llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache
0.00.016.480 E srv    load_model: failed to create_context with model 'm.gguf'
""".splitlines()  # noqa: E501  # as written

BAD_ALLOC = """\
0.00.015.111 W llama_context: n_ctx_seq (100000000) > n_ctx_train (8192)
0.04.899.824 E llama_init_from_model: failed to initialize the context: std::bad_alloc
0.04.899.888 E cmn  common_init_: failed to create context with model 'm.gguf'
""".splitlines()


def failed(*causes: str) -> list[str]:
    passed_on = [
        "0.00.011.514 E llama_model_load: error loading model: llama_model_loader: failed to load model from m.gguf",  # noqa: E501  # as written
        "0.00.011.525 E llama_model_load_from_file_impl: failed to load model",
        "0.00.011.527 E cmn  common_init_: failed to load model 'm.gguf'",
        "0.00.011.791 E srv          init: exiting due to model loading error",
    ]
    return [*causes, *passed_on]


@pytest.mark.parametrize("log", [NO_MEMORY, BAD_ALLOC])
def test_a_failed_allocation_is_lack_of_memory(log: list[str]) -> None:
    reason, no_memory = why_not_loaded(log, "Failed to init server")
    assert no_memory
    assert "insufficient memory" in reason or "bad_alloc" in reason


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            "0.00.011.385 E gguf_init_from_file: failed to open GGUF file 'm.gguf' (No such file or directory)",  # noqa: E501  # as written
            "failed to open GGUF file 'm.gguf' (No such file or directory)",
        ),
        ("0.00.004.525 E gguf_init_from_reader: failed to read magic", "failed to read magic"),
        (
            "0.00.008.064 E llama_model_load: error loading model: tensor 'blk.2.attn_q.weight' data is not within the file bounds, model is corrupted or incomplete",  # noqa: E501  # as written
            "tensor 'blk.2.attn_q.weight' data is not within the file bounds, model is corrupted or incomplete",  # noqa: E501  # as written
        ),
        (
            "0.00.004.640 E llama_model_load: error loading model: unknown model architecture: 'lxxma'",  # noqa: E501  # as written
            "unknown model architecture: 'lxxma'",
        ),
    ],
)
def test_the_first_error_is_the_cause(line: str, reason: str) -> None:
    assert why_not_loaded(failed(line), "Failed to init server") == (reason, False)


def test_without_a_log_the_binding_has_the_word() -> None:
    assert why_not_loaded([], "Failed to init server") == ("Failed to init server", False)
    assert why_not_loaded([], "std::bad_alloc") == ("std::bad_alloc", True)


def test_an_abort_is_explained_by_its_assertion() -> None:
    log = ["0.01 I slot", "/src/ggml.c:1234: GGML_ASSERT(n > 0) failed"]
    death = explain(-6, log)
    assert death.reason == "it aborted: /src/ggml.c:1234: GGML_ASSERT(n > 0) failed"
    assert not death.out_of_memory


def test_an_exception_for_lack_of_memory_is_lack_of_memory() -> None:
    log = [
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "  what():  std::bad_alloc",
    ]
    assert explain(-6, log).out_of_memory


def test_a_kill_by_the_system_for_lack_of_memory_is_told_from_any_other() -> None:
    assert explain(-9, [], oom_kills=1).out_of_memory
    assert not explain(-9, [], oom_kills=0).out_of_memory
    assert "killed" in explain(-9, []).reason


def test_a_kill_by_the_watchdog_is_lack_of_memory() -> None:
    assert explain(-9, [], over_limit=True).out_of_memory


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (-4, "processor instruction"),
        (-11, "invalid memory access"),
        (0xC0000005, "invalid memory access"),
        (-24, "SIG"),
        (-200, "signal 200"),
        (7, "status 7"),
        (None, "gone"),
    ],
)
def test_every_exit_status_has_a_reason(status: int | None, words: str) -> None:
    assert words in explain(status, []).reason
