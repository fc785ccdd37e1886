"""The tool that compares LM Studio's published types with those here."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

TOOL = Path(__file__).parents[2] / "tools" / "make" / "drift.py"


@pytest.fixture(scope="module")
def drift() -> ModuleType:
    spec = importlib.util.spec_from_file_location("drift", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TYPES = """
/** A { brace in a comment. @public */
export declare interface Quantization {
    name: string; // with a note
    bits: string;
    group?: number;
}
export declare interface Base { kept: Array<{ a: string; b: number }>; }
export declare interface Child<T extends X = Y> extends Base { own?: (x: number) => void; }
export declare type Joined = { type: "j" } & Base & { more: string; };
export declare type LLMPredictionStopReason = "eosFound" | "somethingNew";
"""
CODE = """
function createSystemBackendInterface() {
    return new BackendInterface()
        .addRpcEndpoint("listDownloadedModels", {})
        .addChannelEndpoint("brandNew", {});
}
function other() { return x.addRpcEndpoint("notOurs", {}); }
"""


def test_fields_are_read_with_those_of_parents_and_parts(drift: ModuleType):
    published = drift.Published(TYPES)
    assert set(published.fields("Base")) == {"kept"}
    assert set(published.fields("Child")) == {"kept", "own"}
    assert set(published.fields("Joined")) == {"type", "kept", "more"}
    assert published.fields("Quantization")["group"].optional


def test_what_is_new_gone_or_changed_is_told(drift: ModuleType):
    told = set(drift.differences(drift.Published(TYPES)))
    assert "new      Quantization.group?: number" in told
    assert "changed  Quantization.bits: string" in told
    assert not any("Quantization.name" in line for line in told)
    assert 'new      LLMPredictionStopReason "somethingNew"' in told
    assert 'gone     LLMPredictionStopReason "toolCalls"' in told
    assert "gone     LLMInfo" in told


def test_endpoints_are_compared_by_their_namespace(drift: ModuleType):
    told = set(drift.endpoint_differences(CODE))
    assert "new      system/brandNew" in told
    assert "gone     system/version" in told
    assert not any("listDownloadedModels" in line or "notOurs" in line for line in told)


def test_a_package_is_compared_and_nothing_of_it_is_an_error(
    drift: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "dist").mkdir()
    (tmp_path / "package.json").write_text(json.dumps({"name": "x", "version": "9.9"}))
    (tmp_path / "dist" / "index.d.ts").write_text(TYPES)
    (tmp_path / "dist" / "index.mjs").write_text(CODE)
    assert drift.compare(tmp_path) == 0
    told = capsys.readouterr().out
    assert told.startswith("x 9.9")
    assert "new      system/brandNew" in told
