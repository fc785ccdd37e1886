"""Each command, installed, on the shipped models and the real engine."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import yaml

from lmstrix.context.lock import testing
from lmstrix.store import Entry, Store
from lmstrix.store.models import subject

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Run

    from lmstrix.config import Places


def _entries(places: Places) -> list[Entry]:
    with Store.open(places.database) as store:
        return list(store.entries())


SMALL = ("--in-ctx", "1024")  # loads in a moment
GREEDY = ("--temperature", "0")  # gives the same answer every time


def test_scan_finds_the_models_and_list_shows_them(lmstrix: Run) -> None:
    first = lmstrix("scan")
    assert first.returncode == 0
    assert "embedded: 3 models (3 new)" in first.stdout
    assert "embedded: 3 models, all known" in lmstrix("scan").stdout
    ids = lmstrix("list", "--show", "id").stdout.split()
    assert ids == ["tiny-chat", "tiny-chat-overclaimed", "tiny-embed"]
    assert len(json.loads(lmstrix("list", "--show", "json").stdout)) == 3
    narrow = lmstrix("list", "type:embedding", "--max-width", "50").stdout
    assert "tiny-embed" in narrow
    assert max(map(len, narrow.splitlines())) <= 50


def test_a_report_alone_leaves_the_store_as_it_was(lmstrix: Run) -> None:
    assert "3 new" in lmstrix("scan", "--no-update").stdout
    assert lmstrix("list", "--show", "id").stdout == ""


def test_provider_and_server_limit_every_command_alike(lmstrix: Run) -> None:
    assert lmstrix("--provider", "embedded", "scan").returncode == 0
    address = ("--server", "http://127.0.0.1:9")
    assert "tiny-chat" in lmstrix("list", "--provider", "embedded", "--show", "id").stdout
    # What runs on this machine is there whatever server is set, as by LMSTUDIO_BASE_URL.
    assert "tiny-chat" in lmstrix("list", *address, "--show", "id").stdout
    assert lmstrix("ps", *address).returncode == 0
    for command in (
        ("scan",),
        ("list",),
        ("fit", "tiny-chat"),
        ("test", "--all"),
        ("infer", "Hello", "tiny-chat"),
        ("ps",),
        ("unload", "--all"),
    ):
        after = lmstrix(*command, "--provider", "nosuch")
        before = lmstrix("--provider", "nosuch", *command)
        assert (after.returncode, before.returncode) == (3, 3), command
        assert after.stderr == before.stderr
    nobody = lmstrix("scan", *address)
    assert nobody.returncode == 4
    assert "http://127.0.0.1:9" in nobody.stderr


def test_nothing_found_is_exit_3_with_the_next_step(lmstrix: Run) -> None:
    nothing = lmstrix("scan", env={"LMSTRIX_SHIPPED_MODELS": "false"})
    assert nothing.returncode == 3
    assert "LMSTRIX_MODEL_FOLDERS" in nothing.stderr
    assert lmstrix("list", "nosuch").returncode == 3
    missing = lmstrix("infer", "hello", "nosuch")
    assert (missing.returncode, missing.stdout) == (3, "")
    assert "lmstrix scan" in missing.stderr


def test_the_answer_alone_is_on_standard_output(lmstrix: Run) -> None:
    lmstrix("scan")
    plain = lmstrix("infer", "What is 2+3?", "tiny-chat", *SMALL, *GREEDY)
    assert (plain.returncode, plain.stdout, plain.stderr) == (0, "5\n", "")
    told = lmstrix("infer", "What is 2+3?", "tiny-chat", "--stream", "--verbose", *GREEDY)
    assert told.stdout == "5\n"
    assert "tiny-chat" in told.stderr
    assert "What is 2+3?" in told.stderr
    for fact in ("time to first token", "total time", "prompt tokens", "predicted tokens"):
        assert fact in told.stderr
    assert "tokens/s" in told.stderr
    assert "stopped" in told.stderr
    assert max(map(len, told.stderr.splitlines())) <= 80
    assert "\x1b" not in told.stderr


def test_an_answer_leaves_the_model_loaded_until_it_is_unloaded(lmstrix: Run) -> None:
    lmstrix("scan")
    lmstrix("infer", "What is 2+3?", "tiny-chat", *SMALL, "--ttl", "2h")
    [instance] = json.loads(lmstrix("ps", "--format", "json").stdout)
    assert instance["context_tokens"] == 1024
    assert instance["config"]["ttl_s"] == 7200
    lmstrix("infer", "What is 3+3?", "tiny-chat")
    [same] = json.loads(lmstrix("ps", "--format", "json").stdout)
    assert same["pid"] == instance["pid"]
    table = lmstrix("ps", env={"COLUMNS": "60"}).stdout
    assert "1,024" in table
    assert max(map(len, table.splitlines())) <= 60
    assert lmstrix("unload", "tiny-chat").stdout == "Unloaded tiny-chat.\n"
    assert lmstrix("unload", "tiny-chat").returncode == 3
    assert lmstrix("ps", "--format", "json").stdout == "[]\n"
    assert lmstrix("unload", "--all").returncode == 0


def test_load_tells_what_it_loaded(lmstrix: Run) -> None:
    lmstrix("scan")
    done = lmstrix("load", "tiny-chat", *SMALL, "--id", "mine", "--kv-type", "q8_0")
    assert done.stdout.startswith("Loaded tiny-chat as mine: context 1,024, ")
    [instance] = yaml.safe_load(lmstrix("ps", "--format", "yaml").stdout)
    assert instance["config"]["kv_type_k"] == "q8_0"


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_an_answer_as_data_has_text_statistics_and_instance(
    form: str, read: object, lmstrix: Run, tmp_path: Path
) -> None:
    assert callable(read)
    lmstrix("scan")
    file = tmp_path / "answer"
    done = lmstrix(
        *("infer", "What is 2+3?", "tiny-chat", *SMALL, *GREEDY, "--format", form),
        *("--save-response", str(file)),
    )
    answer = read(done.stdout)
    assert answer["text"] == "5"
    assert answer["stats"]["stop_reason"] == "end"
    assert answer["stats"]["total_tokens"] > 5
    assert answer["stats"]["time_to_first_token_s"] > 0
    assert answer["instance"]["context_tokens"] == 1024
    assert file.read_text(encoding="utf-8") == done.stdout


def test_the_prompt_comes_from_wherever_it_is_said(lmstrix: Run, tmp_path: Path) -> None:
    lmstrix("scan")
    one = ("tiny-chat", *SMALL, *GREEDY)
    file = tmp_path / "sum.txt"
    file.write_text("2+3", encoding="utf-8")
    asked = [
        lmstrix("infer", "-", *one, stdin=b"What is 2+3?"),
        lmstrix("infer", "--stdin", *one, stdin=b"What is 2+3?"),
        lmstrix("infer", "What is {{text}}?", *one, "--text", "2+3"),
        lmstrix("infer", "What is {{x}}?", *one, "--text_file", str(file)),
        lmstrix("infer", "What is {{a}}+{{b}}?", *one, "--dict", "a=2,b=3"),
    ]
    assert [(done.returncode, done.stdout) for done in asked] == [(0, "5\n")] * 5


def test_explain_shows_what_would_be_sent_and_sends_nothing(lmstrix: Run) -> None:
    lmstrix("scan")
    asked = ("infer", "Hi\tC:\\new", "tiny-chat", *SMALL, "--explain", "--top_k", "7")
    shown = lmstrix(*asked).stdout
    assert "<|im_start|>user\\n\n  Hi\\tC:\\\\new<|im_end|>" in shown
    line = next(line for line in shown.splitlines() if line.strip().startswith("top_k"))
    assert line.split()[:3] == ["top_k", "7", "you"]
    data = json.loads(lmstrix(*asked, "--format", "json").stdout)
    assert json.loads(data["wire"]["body"])["top_k"] == 7
    assert data["wire"]["body"] in shown


def test_a_prompt_that_does_not_fit_is_refused_with_the_numbers(lmstrix: Run) -> None:
    lmstrix("scan")
    done = lmstrix("infer", "-", "tiny-chat", *SMALL, stdin=b"cat " * 2000)
    assert (done.returncode, done.stdout) == (1, "")
    assert "1,024" in done.stderr
    assert "--overflow" in done.stderr
    cut = lmstrix("infer", "-", "tiny-chat", *SMALL, "--overflow", "middle", stdin=b"cat " * 2000)
    assert cut.returncode == 0
    assert "note: Cut " in cut.stderr


@pytest.mark.parametrize(
    ("stdin", "complaint"), [(b"", "prompt is empty"), (b"caf\xe9", "not UTF-8")]
)
def test_a_bad_prompt_is_refused_before_anything_is_loaded(
    stdin: bytes, complaint: str, lmstrix: Run
) -> None:
    lmstrix("scan")
    done = lmstrix("infer", "-", "tiny-chat", stdin=stdin)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert lmstrix("ps", "--format", "json").stdout == "[]\n"


def test_a_name_that_matches_several_lists_them(lmstrix: Run) -> None:
    lmstrix("scan")
    done = lmstrix("infer", "hello", "tiny-c")
    assert done.returncode == 3
    assert "tiny-chat-overclaimed" in done.stderr


def test_fit_predicts_without_loading(lmstrix: Run) -> None:
    lmstrix("scan")
    done = lmstrix("fit", "tiny-chat")
    assert done.returncode == 0
    assert all(kind in done.stdout for kind in ("f16", "q8_0", "q4_0"))
    assert max(map(len, done.stdout.splitlines())) <= 80
    small = json.loads(
        lmstrix("fit", "tiny-chat", "--memory-limit", "10MB", "--format", "json").stdout
    )
    f16, q8, q4 = (row["context_tokens"] for row in small["fit"]["rows"])
    assert f16 < q8 < q4


def test_a_test_tells_three_limits_and_is_shown_in_the_list(lmstrix: Run) -> None:
    lmstrix("scan")
    plan = lmstrix("test", "tiny-chat", "--fast", "--threshold", "1k", "--dry-run")
    assert "ceiling    1,024" in plan.stdout
    done = lmstrix("test", "tiny-chat", "--fast", "--threshold", "1k")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[1:4]] == [
        "loadable",
        "processable",
        "effective",
    ]
    assert "tiny-chat: loading 1,024 tokens" in done.stderr
    assert "\x1b" not in done.stderr
    assert lmstrix("list", "status:completed", "--show", "id").stdout == "tiny-chat\n"
    assert lmstrix("test", "--continue").returncode == 3
    forgotten = lmstrix("scan", "--reset")
    assert "Forgot the results of 1 test;" in forgotten.stderr
    assert lmstrix("list", "status:completed").returncode == 3


def test_the_budget_is_for_all_models_together(lmstrix: Run) -> None:
    lmstrix("scan")
    done = lmstrix("test", "--all", "--fast", "--sort", "sized", "--budget", "10ms")
    assert "note: The budget ended after 1 of 3 models." in done.stderr
    assert done.stdout.startswith("tiny-chat")  # the largest file, as --sort says


def test_two_tests_of_a_model_at_once_are_one_too_many(lmstrix: Run, places: Places) -> None:
    lmstrix("scan")
    [entry] = [e for e in _entries(places) if e.model.key == "tiny-embed"]
    with testing(entry.model.key, subject(entry.model), places.locks):
        done = lmstrix("test", "tiny-embed")
        both = lmstrix("test", "--filter", "tiny-embed,type:embedding")
    for busy in (done, both):
        assert (busy.returncode, busy.stdout) == (1, "")
        assert busy.stderr.startswith("error: ")
        assert "being tested by process" in busy.stderr


def test_an_unscanned_file_can_be_used_and_a_damaged_one_is_named(
    lmstrix: Run, shipped: Path, tmp_path: Path
) -> None:
    whole = (shipped / "tiny-chat.gguf").read_bytes()
    (tmp_path / "mine.gguf").write_bytes(whole)
    (tmp_path / "cut.gguf").write_bytes(whole[:5000])
    (tmp_path / "text.gguf").write_bytes(b"no model")
    folder = {"LMSTRIX_MODEL_FOLDERS": str(tmp_path), "LMSTRIX_SHIPPED_MODELS": "false"}
    answered = lmstrix("infer", "What is 2+3?", str(tmp_path / "mine.gguf"), *SMALL, *GREEDY)
    assert answered.stdout == "5\n"
    scanned = lmstrix("scan", env=folder)
    assert scanned.stdout.splitlines()[0] == "embedded: 1 model (1 new)"
    assert "note: cut.gguf" in scanned.stderr
    assert "note: text.gguf" in scanned.stderr
    damaged = lmstrix("infer", "hello", str(tmp_path / "cut.gguf"))
    assert damaged.returncode == 1
    assert "download" in damaged.stderr
    (tmp_path / "mine.gguf").unlink()
    assert "1 missing" in lmstrix("scan", env=folder).stdout


def test_a_store_of_a_newer_version_is_left_alone(lmstrix: Run, places: Places) -> None:
    lmstrix("scan")
    with closing(sqlite3.connect(places.database)) as db:
        db.execute("PRAGMA user_version = 99")
    done = lmstrix("list")
    assert (done.returncode, done.stdout) == (1, "")
    assert "newer LMStrix" in done.stderr
    assert "Update LMStrix" in lmstrix("doctor").stdout


def test_a_model_left_out_is_the_one_used_last(lmstrix: Run) -> None:
    lmstrix("scan")
    assert lmstrix("infer", "What is 2+3?").returncode == 3
    lmstrix("infer", "What is 2+3?", "tiny-chat", *SMALL)
    assert lmstrix("infer", "What is 2+3?", *GREEDY).stdout == "5\n"


def test_an_embedding_model_is_tested_as_such(lmstrix: Run) -> None:
    lmstrix("scan")
    done = lmstrix("test", "tiny-embed", "--format", "json", "-q")
    [result] = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert result["effective"]["verdict"] == "not applicable"


def test_doctor_finds_a_sound_set_up_and_names_a_fault(lmstrix: Run, home: Path) -> None:
    well = lmstrix("doctor", "--format", "json")
    assert well.returncode == 0
    states = {finding["check"]: finding["state"] for finding in json.loads(well.stdout)}
    assert states["engine self-test"] == "ok"
    assert states["settings"] == "ok"
    (home / "lmstrix").mkdir(exist_ok=True)
    (home / "lmstrix" / "config.toml").write_text("[embedded]\nthreads = 'x'\n", encoding="utf-8")
    (home / "lmstrix" / "lmstrix.db").write_bytes(b"SQLite format 3\0" + b"broken" * 500)
    ill = lmstrix("health", "--no-emoji")
    assert ill.returncode == 1
    assert "FAIL settings: " in ill.stdout
    assert "line 2" in ill.stdout
    assert "FAIL store: " in ill.stdout


def test_doctor_names_a_place_that_cannot_be_written_to(lmstrix: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    done = lmstrix("doctor", "--fix", env={"LMSTRIX_HOME": str(tmp_path / "file" / "home")})
    assert done.returncode == 1
    assert f"✗ folders: {tmp_path / 'file'} cannot be written to" in done.stdout
    assert "LMSTRIX_HOME" in done.stdout


def test_doctor_makes_missing_folders_when_asked(lmstrix: Run, home: Path) -> None:
    assert not (home / "lmstrix").exists()
    assert "Made " in lmstrix("doctor", "--fix").stdout
    assert (home / "lmstrix" / "run").is_dir()


def test_what_1x_knew_is_imported_and_what_is_broken_is_named(lmstrix: Run, tmp_path: Path) -> None:
    file = tmp_path / "lmstrix.json"
    good = {"id": "old-model", "ctx_in": 4096, "tested_max_context": 2048, "size_bytes": 5}
    file.write_text(
        json.dumps({"llms": {"a/old-model.gguf": good, "b/bad.gguf": 3}}), encoding="utf-8"
    )
    before = file.read_bytes()
    done = lmstrix("registry", "import", str(file))
    assert done.returncode == 0
    assert "Imported 1 model from" in done.stdout
    assert "not imported: b/bad.gguf" in done.stderr
    assert file.read_bytes() == before
    assert "old-model" in lmstrix("list").stdout
    assert lmstrix("registry", "import", str(tmp_path / "none.json")).returncode == 3
    backup = lmstrix("registry", "backup").stdout.strip()
    assert backup.endswith(".db")
    assert "Models    1" in lmstrix("registry", "stats").stdout


def test_config_shows_values_with_their_origins(lmstrix: Run) -> None:
    shown = yaml.safe_load(lmstrix("config", "effective", "--format", "yaml").stdout)
    assert shown["embedded.threads"] == {"value": 1, "origin": "LMSTRIX_EMBEDDED__THREADS"}
    assert shown["timeouts.tokens_s"]["origin"] == "default"
    changed = lmstrix("config", "effective", "--timeout", "5").stdout
    assert "command line" in changed
    assert "lmstrix.db" in lmstrix("config", "path").stdout
