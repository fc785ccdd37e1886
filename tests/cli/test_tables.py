"""What fits and instances look like in lines."""

from __future__ import annotations

from lmstrix.cli.commands.fit import fit_lines
from lmstrix.cli.commands.ps import instance_table
from lmstrix.context.fit import Fit, FitRow, LimitedBy, MemoryBudget
from lmstrix.registry.layout import display_width
from lmstrix.types import Instance, LoadConfig, MemoryUse


def test_instances_fit_a_narrow_terminal() -> None:
    instance = Instance(
        id="a-rather-long-name-of-an-instance:2",
        model_key="publisher/some-model-with-a-long-name-Q4_K_M",
        provider="embedded",
        server="embedded",
        context_tokens=131072,
        pid=12345,
        loaded_at=100.0,
        config=LoadConfig(ttl_s=3600),
        memory=MemoryUse(resident_bytes=5 * 10**9),
    )
    lines = instance_table([instance], now=160.0, width=60)
    assert max(map(display_width, lines)) <= 60
    assert "131,072" in lines[1]
    assert "5.0 GB" in lines[1]
    assert "1 h" in lines[1]


def test_a_fit_has_a_line_per_kv_type() -> None:
    need = MemoryUse(weights_bytes=10**9, kv_bytes=10**9)
    fit = Fit(
        declared_tokens=8192,
        memory=MemoryBudget(free_bytes=4 * 10**9),
        parallel=1,
        rows=(
            FitRow(
                kv_type="f16",
                context_tokens=None,
                need=need,
                limited_by=LimitedBy.MEMORY,
                error=0.02,
            ),
            FitRow(
                kv_type="q8_0",
                context_tokens=8192,
                need=need,
                limited_by=LimitedBy.DECLARED,
                error=0.02,
            ),
        ),
        confidence="measured",
    )
    lines = list(fit_lines("m", fit))
    assert any("f16" in line and "does not fit" in line for line in lines)
    assert any("q8_0" in line and "8,192" in line and "declares" in line for line in lines)
    assert max(map(len, lines)) <= 60
