from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.config import parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("4096B", 4096),
        ("4GB", 4 * 10**9),
        ("4 GiB", 4 * 2**30),
        ("4G", 4 * 2**30),
        ("4g", 4 * 2**30),
        ("1.5kb", 1500),
        ("1.5KiB", 1536),
        (" 2Ti ", 2 * 2**40),
    ],
)
def test_a_size_is_read_as_people_write_it(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "4XB", "4iB", "1e9", "4 4", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@given(st.integers(0, 2**52), st.sampled_from(["K", "M", "G", "T"]))
def test_every_whole_number_of_a_unit_is_exact(number: int, unit: str) -> None:
    power = "KMGT".index(unit) + 1
    assert parse_size(f"{number}") == number
    assert parse_size(f"{number % 1000}{unit}iB") == number % 1000 * 1024**power
    assert parse_size(f"{number % 1000}{unit}B") == number % 1000 * 1000**power


def test_importing_the_settings_imports_nothing_heavy() -> None:
    code = (
        "import sys, lmstrix.config;"
        "from lmstrix.config import Places, load_settings;"
        "load_settings(Places.locate());"
        "heavy = {'tomllib', 'platformdirs', 'sqlite3', 'difflib', 'dataclasses', 'psutil'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
