from __future__ import annotations

from lmstrix.context.findings import sentences
from lmstrix.results import Probe, ProbeKind, ProbeOutcome


def test_the_probe_that_decides_a_limit_speaks_first() -> None:
    known = [
        Probe(
            id=size,
            test_id=1,
            kind=ProbeKind.PROCESS,
            tokens=size,
            started_at=0.0,
            outcome=ProbeOutcome(ok=size < 8000, detail=f"Of {size:,}."),
        )
        for size in (8192, 1024, 4096)
    ]
    of_each = sentences(known, ProbeKind.PROCESS)
    assert ["1,024" in of_each[0], "4,096" in of_each[1], "8,192" in of_each[2]] == [True] * 3
    assert sentences(known, ProbeKind.PROCESS, first=4096) == (of_each[1], of_each[0], of_each[2])
