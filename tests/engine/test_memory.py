from __future__ import annotations

import os

import psutil

from lmstrix.engine.memory import machine_bytes, oom_kills, reported_memory, resident_bytes
from lmstrix.types import MemoryUse

LOG = """\
0.00.007.916 I load_tensors:   CPU_Mapped model buffer size =     0.50 MiB
0.00.007.917 I load_tensors:        CUDA0 model buffer size =  1024.00 MiB
0.00.008.071 I llama_context:        CPU  output buffer size =     0.25 MiB
0.00.008.259 I llama_kv_cache:        CPU KV buffer size =     8.00 MiB
0.00.008.260 I llama_memory_recurrent:        CPU RS buffer size =     1.00 MiB
0.00.012.682 I llama_kv_cache: size =    8.00 MiB (  8192 cells), K (f16):    4.00 MiB
0.00.013.903 I sched_reserve:        CPU compute buffer size =    11.50 MiB
""".splitlines()


def test_buffers_are_summed_over_devices() -> None:
    mib = 2**20
    assert reported_memory(LOG, resident_bytes=7) == MemoryUse(
        weights_bytes=1024 * mib + mib // 2,
        kv_bytes=9 * mib,
        compute_bytes=11 * mib + mib * 3 // 4,
        resident_bytes=7,
    )


def test_an_empty_log_reports_nothing() -> None:
    assert reported_memory([]) == MemoryUse()


def test_a_living_process_holds_memory_and_a_gone_one_none() -> None:
    assert resident_bytes(os.getpid()) > 2**20
    assert resident_bytes(2**22 + 1) == 0


def test_the_machine_has_at_least_its_physical_memory() -> None:
    assert machine_bytes() >= psutil.virtual_memory().total
    assert oom_kills() >= 0
