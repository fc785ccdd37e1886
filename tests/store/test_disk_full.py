from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from lmstrix.errors import StoreFullError
from lmstrix.results import ProbeKind
from lmstrix.store import Store
from lmstrix.types import Listing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting needs root on Linux; the file size limit is tested instead")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount here: {mounted.stderr!r}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def filled(folder: Path, *, leaving: int = 0) -> Iterator[None]:
    """No room in `folder` but `leaving` bytes, until the end of the block."""
    filler = folder / "filler"
    free = os.statvfs(folder)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_bsize - leaving)
    yield
    filler.unlink()


def begin_probes(store: Store, test_id: int) -> None:
    for size in range(1000):
        store.begin_probe(test_id, ProbeKind.LOAD, size, at=1.0)


@pytest.mark.parametrize("leaving", [0, 4096, 16384, 65536])
def test_a_full_disk_loses_nothing_that_was_there(
    small_disk: Path, make: Any, leaving: int
) -> None:
    models = tuple(make.model(f"m{n}", description="x" * 500) for n in range(200))
    with Store.open(small_disk / "lmstrix.db") as store:
        store.record_listing("embedded", "local", Listing(models=models[:50]), at=1.0)
        test_id = store.begin_test(make.result())
        before = list(store.entries())
        with filled(small_disk, leaving=leaving):
            with pytest.raises(StoreFullError, match="No room left") as caught:
                store.record_listing("embedded", "local", Listing(models=models), at=2.0)
            assert "intact" in caught.value.message
            assert list(store.entries()) == before
            with pytest.raises(StoreFullError):
                store.backup()
            with pytest.raises(StoreFullError):
                begin_probes(store, test_id)
            begun = store.probes(test_id)
            assert [probe.tokens for probe in begun] == list(range(len(begun)))
        assert store.integrity() == ()
        assert list(small_disk.glob("backups/*")) == []
        store.record_listing("embedded", "local", Listing(models=models), at=2.0)
    with Store.open(small_disk / "lmstrix.db") as store:
        assert len(list(store.entries())) == 200
        assert store.probes(test_id) == begun


@pytest.mark.parametrize("exists", [True, False])
def test_a_full_disk_is_told_at_opening_and_harms_nothing(
    small_disk: Path,
    exists: bool,  # noqa: FBT001  # a case
) -> None:
    path = small_disk / "data" / "lmstrix.db"
    if exists:
        with Store.open(path) as store:
            store.set_state("last", "tiny")
    with filled(small_disk), pytest.raises(StoreFullError, match="No room left"):
        Store.open(path)
    with Store.open(path) as store:
        assert store.integrity() == ()
        assert store.get_state("last") == ("tiny" if exists else None)


LIMITED = """
import resource, sys
from pathlib import Path
from lmstrix.errors import StoreFullError
from lmstrix.store import Store
from lmstrix.types import Listing, Model
with Store.open(Path(sys.argv[1])) as store:
    store.set_state("last", "tiny")
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))
    models = tuple(
        Model(key=f"m{n}", provider="e", server="s", description="x" * 500) for n in range(1000)
    )
    try:
        store.record_listing("e", "s", Listing(models=models), at=1.0)
    except StoreFullError as error:
        assert store.get_state("last") == "tiny"
        assert list(store.entries()) == []
        print(error.message)
"""


@pytest.mark.skipif(os.name != "posix", reason="file size limits are a POSIX matter")
def test_a_limit_on_file_sizes_is_told_as_no_room(path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True
    ).stdout
    assert told.startswith("No room left to write the store")
    with Store.open(path) as store:
        assert store.get_state("last") == "tiny"
        assert store.integrity() == ()
