"""Every form of `lmstrix list --show`."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lmstrix.errors import UsageError
from lmstrix.registry.columns import (
    COLUMNS,
    human_bytes,
    human_count,
    human_limit,
    iso_time,
    parse_columns,
)
from lmstrix.registry.layout import display_width
from lmstrix.registry.listing import SHOWS, render
from lmstrix.results import Limit, TestStatus, Verdict
from lmstrix.store import LegacyTest
from lmstrix.types import ModelType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from lmstrix.store import Entry


@pytest.fixture
def three(make_entry: Callable[..., Entry]) -> list[Entry]:
    return [
        make_entry(
            "meta/llama-3-8b-instruct-q4_k_m",
            ctx=8192,
            tps=31.26,
            tested_at=1_780_000_000.0,
            size_bytes=4_920_753_152,
            declared_context_tokens=131_072,
            path="/models/llama.gguf",
            tags=("llama", "chat"),
        ),
        make_entry("qwen3", size_bytes=734_003_200, declared_context_tokens=32_768),
        make_entry("gone", missing_since=9.0, status=TestStatus.FAILED),
    ]


def lines(entries: Iterable[Entry], **options: Any) -> list[str]:
    return list(render(entries, **options))


def test_a_table_shows_what_it_is_sorted_by_however_narrow_it_is(make_entry: Any) -> None:
    fast = [make_entry("a", ctx=8192, ttft=0.25, tps=30.0)]
    assert "TTFT" not in lines(fast)[0]
    assert "TTFT" in lines(fast, sort="ttft")[0]
    assert "0.25 s" in lines(fast, sort="ttft")[1]
    assert "Tok/s" not in lines(fast, width=48)[0]
    assert "Tok/s" in lines(fast, width=48, sort="tps")[0]
    assert lines(fast, sort="smart") == lines(fast)


def test_a_limit_that_was_not_found_to_its_end_has_a_mark_and_a_plain_number(
    make_entry: Any,
) -> None:
    undecided = Limit(verdict=Verdict.AT_LEAST, tokens=4096)
    entry = make_entry("a", limits={"effective": undecided})
    assert lines([entry], columns=["id", "ctx"])[1].endswith("4,096+")
    assert json.loads("".join(lines([entry], show="json", columns=["ctx"]))) == [
        {"context_tokens": 4096}
    ]


def test_a_table_has_numbers_to_the_right_and_declared_apart_from_tested(
    three: list[Entry],
) -> None:
    assert lines(three, columns=("id", "size", "ctx", "dtx", "status")) == [
        "Model                              Size  Tested  Declared  Status",
        "meta/llama-3-8b-instruct-q4_k_m  4.9 GB   8,192   131,072  completed",
        "qwen3                            734 MB            32,768  untested",
        "gone                                                       missing",
    ]


def test_a_wide_terminal_shows_all_there_is_to_say(three: list[Entry]) -> None:
    head = lines(three, width=200)[0].split()
    assert " ".join(head) == "Model Type Size Tested Declared Eff Tok/s Status Date"


@pytest.mark.parametrize("width", [80, 60])
def test_a_narrow_table_goes_without_side_facts_and_keeps_names_readable(
    three: list[Entry], width: int
) -> None:
    shown = lines(three, width=width)
    assert max(map(display_width, shown)) <= width
    assert "Tested" in shown[0]
    assert "Declared" in shown[0]
    assert "Status" in shown[0]
    assert "instruct-q4_k_m" in shown[1] or "ct-q4_k_m" in shown[1]


def test_columns_without_any_value_are_not_shown(make_entry: Callable[..., Entry]) -> None:
    assert lines([make_entry("x", size_bytes=5)])[0].split() == [
        "Model", "Type", "Size", "Tested", "Declared", "Status",
    ]  # fmt: skip


def test_what_version_1_measured_has_its_own_column(make_entry: Callable[..., Entry]) -> None:
    old = make_entry("x", legacy=LegacyTest(tested_max_context=31_744))
    assert lines([old]) == [
        "Model  Type  Size  Tested  Declared     1.x  Status",
        "x      llm                           31,744  untested",
    ]


def test_a_model_only_known_from_an_import_is_marked(make_entry: Callable[..., Entry]) -> None:
    assert lines([make_entry("x", seen_at=None)], columns=["status"]) == ["Status", "unseen"]


def test_the_user_may_narrow_the_table_below_the_terminal(three: list[Entry]) -> None:
    assert max(map(len, lines(three, width=80, max_width=50))) <= 50
    assert max(map(len, lines(three, width=50, max_width=80))) <= 50


def test_without_a_header_only_the_models_are_shown(three: list[Entry]) -> None:
    assert len(lines(three, header=False)) == 3
    assert len(lines(three, show="csv", header=False)) == 3
    assert len(lines(three, show="md", header=False)) == 3


def test_ids_and_paths_come_one_to_a_line(three: list[Entry]) -> None:
    assert lines(three, show="id") == ["meta/llama-3-8b-instruct-q4_k_m", "qwen3", "gone"]
    assert lines(three, show="path") == ["/models/llama.gguf"]


def test_json_is_an_array_of_objects_with_units_in_their_names(three: list[Entry]) -> None:
    first, second, gone = json.loads("\n".join(lines(three, show="json")))
    assert set(first) == {column.field for column in COLUMNS.values()}
    assert first["key"] == "meta/llama-3-8b-instruct-q4_k_m"
    assert first["size_bytes"] == 4_920_753_152
    assert first["context_tokens"] == 8192
    assert first["declared_context_tokens"] == 131_072
    assert first["tested_share"] == 0.0625
    assert first["processable"] == {"verdict": "found", "tokens": 8192, "below_tokens": None}
    assert first["tested_at"] == "2026-05-28T20:26:40Z"
    assert first["tags"] == ["llama", "chat"]
    assert second["context_tokens"] is None
    assert gone["status"] == "failed"
    assert gone["missing_since"] == "1970-01-01T00:00:09Z"


def test_json_of_nothing_is_an_empty_array() -> None:
    assert json.loads("\n".join(lines([], show="json"))) == []
    assert yaml.safe_load("\n".join(lines([], show="yaml"))) == []


def test_columns_choose_the_fields_of_json(three: list[Entry]) -> None:
    shown = json.loads("\n".join(lines(three, show="json", columns=["id", "ctx"])))
    assert shown[0] == {"key": "meta/llama-3-8b-instruct-q4_k_m", "context_tokens": 8192}


def test_csv_reads_back_with_the_values_of_json(three: list[Entry]) -> None:
    rows = list(csv.DictReader(io.StringIO("\n".join(lines(three, show="csv")))))
    assert rows[0]["size_bytes"] == "4920753152"
    assert rows[0]["processable"] == "8192"
    assert rows[0]["tags"] == "llama chat"
    assert rows[1]["context_tokens"] == ""


def test_markdown_escapes_what_would_break_the_table(make_entry: Callable[..., Entry]) -> None:
    shown = lines([make_entry("a|b_c", size_bytes=1)], show="md", columns=["id", "size"])
    assert shown == ["| Model | Size |", "| --- | ---: |", "| a\\|b\\_c | 1 B |"]


def test_a_summary_counts(three: list[Entry]) -> None:
    assert lines(three, show="summary") == [
        "Models    3, 5.7 GB",
        "Status    completed 1, untested 1, failed 1",
        "Type      llm 3",
        "Provider  embedded 3",
        "Missing   1",
    ]
    assert lines([], show="summary") == ["Models    0, 0 B"]


def test_a_name_cannot_break_a_line_or_steer_the_terminal(make_entry: Callable[..., Entry]) -> None:
    evil = make_entry("a\nb\x1b[31m")
    for show in ("table", "md"):
        shown = lines([evil], show=show, header=False)
        assert len(shown) == 1
        assert "\x1b" not in shown[0]
        assert "\n" not in shown[0]


@pytest.mark.parametrize(
    "options", [{"show": "xml"}, {"columns": ["id", "weight"]}, {"width": 0}, {"max_width": -5}]
)
def test_a_wrong_call_is_refused_before_the_first_line(
    three: list[Entry], options: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        render(three, **options)


@pytest.mark.parametrize("show", ["id", "path", "json", "csv", "yaml"])
def test_lines_come_before_all_entries_were_read(
    make_entry: Callable[..., Entry], show: str
) -> None:
    read = []

    def entries() -> Iterator[Entry]:
        for i in range(1000):
            read.append(i)
            yield make_entry(f"m{i}", path=f"/m{i}.gguf")

    shown = render(entries(), show=show)
    for _ in range(4):
        next(shown)
    assert len(read) < 10


def test_columns_may_be_named_in_several_ways_but_once() -> None:
    assert parse_columns("key, CTX,tag") == ("id", "ctx", "tags")
    assert parse_columns("id,key") == ("id",)


ANY_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)


@settings(deadline=None)
@given(
    keys=st.lists(ANY_TEXT, max_size=3),
    description=st.none() | ANY_TEXT,
    ttft=st.none() | st.floats(0, 1e9),
    size=st.integers(0, 2**62),
)
def test_json_yaml_and_csv_give_every_value_back(
    make_entry: Callable[..., Entry],
    keys: list[str],
    description: str | None,
    ttft: float | None,
    size: int,
) -> None:
    entries = [
        make_entry(key, ctx=5, ttft=ttft, size_bytes=size, description=description, tags=(key,))
        for key in keys
    ]
    from_json = json.loads("\n".join(lines(entries, show="json")))
    assert [one["key"] for one in from_json] == keys
    assert all(one["description"] == description for one in from_json)
    assert all(one["time_to_first_token_s"] == ttft for one in from_json)
    assert yaml.safe_load("\n".join(lines(entries, show="yaml"))) == from_json
    text = "\n".join(lines(entries, show="csv", columns=["id", "size"]))
    rows = list(csv.reader(io.StringIO(text, newline="")))[1:]
    assert [row[0] for row in rows] == keys


@settings(deadline=None)
@given(
    keys=st.lists(st.text("aB3-_/漢e\u0301\x1b", min_size=1, max_size=60), max_size=4),
    width=st.integers(1, 120),
    columns=st.lists(st.sampled_from(sorted(COLUMNS)), max_size=8, unique=True),
    header=st.booleans(),
)
def test_a_table_never_exceeds_its_width(
    make_entry: Callable[..., Entry],
    keys: list[str],
    width: int,
    columns: list[str],
    *,
    header: bool,
) -> None:
    entries = [
        make_entry(
            key,
            ctx=1_048_576,
            tps=1234.5,
            ttft=99.99,
            size_bytes=10**12,
            type=ModelType.EMBEDDING,
            path=f"/models/{key}.gguf",
            declared_context_tokens=10**7,
        )
        for key in keys
    ]
    shown = lines(entries, columns=columns, header=header, width=width)
    assert len(shown) == len(keys) + header
    assert all(display_width(line) <= width for line in shown)


def test_every_form_is_rendered_for_every_column(three: list[Entry]) -> None:
    for show in SHOWS:
        for column in COLUMNS:
            assert lines(three, show=show, columns=[column])


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (None, ""),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_951, "100 kB"),
        (999_600, "1.0 MB"),
        (4_080_000_000, "4.1 GB"),
        (2.5e15, "2,500.0 TB"),
    ],
)
def test_sizes_are_written_for_people(size: float | None, text: str) -> None:
    assert human_bytes(size) == text


def test_parameters_are_written_as_people_name_them() -> None:
    assert [human_count(n) for n in (None, 0, 12, 1_500, 494_000_000, 7_240_000_000)] == [
        "", "", "12", "1.5K", "494M", "7.2B",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (Limit(), ""),
        (Limit(verdict=Verdict.FOUND, tokens=8192), "8,192"),
        (Limit(verdict=Verdict.AT_LEAST, tokens=8192), "8,192+"),
        (Limit(verdict=Verdict.NONE), "none"),
        (Limit(verdict=Verdict.NOT_APPLICABLE), "n/a"),
    ],
)
def test_a_limit_says_how_sure_it_is(limit: Limit, text: str) -> None:
    assert human_limit(limit) == text


def test_moments_are_written_in_utc() -> None:
    assert iso_time(None) is None
    assert iso_time(0.0) == "1970-01-01T00:00:00Z"
