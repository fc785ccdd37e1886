from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.config import ServerSettings, Settings, parse_size, server_root


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


@pytest.mark.parametrize(
    ("address", "root"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://LocalHost:8080/v1/", "http://127.0.0.1:8080"),
        ("https://name:secret@Host/base/api", "https://host/base"),
        ("ws://[::1]:1234/", "http://[::1]:1234"),
    ],
)
def test_one_server_has_one_address_however_it_is_written(address: str, root: str) -> None:
    assert server_root(address) == root
    assert server_root(root) == root


def test_a_server_is_named_by_its_name_or_its_address() -> None:
    settings = Settings(servers={"office": ServerSettings(url="http://host:1/v1")})
    assert settings.server_address("office") == "http://host:1"
    assert settings.server_address("http://other:2/") == "http://other:2"
    assert settings.server_address("embedded") == "embedded"
    assert settings.server_address(None) is None
