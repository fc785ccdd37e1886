"""The examples of docs/gateway.md, run as they stand there."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lmstrix.gateway.server import Serving

PAGE = Path(__file__).resolve().parents[2] / "docs" / "gateway.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.split("\n")[0])
async def test_programs_are_pointed_to_the_gateway_as_the_page_says(gateway: Serving, example: str):
    address = f"127.0.0.1:{gateway.port}"
    code = example.replace("127.0.0.1:1234", address).replace("my-model", "tiny-chat")
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        f"{code}\nassert answer",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await program.communicate()
    assert program.returncode == 0, said.decode()
    assert [one.model_key for one in await gateway.gateway.instances()] == ["tiny-chat"]


def test_the_page_has_an_example_for_each_dialect():
    assert len(EXAMPLES) == 4
