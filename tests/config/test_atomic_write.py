from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lmstrix.config import atomic_write
from lmstrix.config.leftovers import partial_beside, remove_leftovers

if TYPE_CHECKING:
    from pathlib import Path

posix = pytest.mark.skipif(os.name != "posix", reason="a POSIX matter")


def test_a_file_is_made_and_replaced_with_nothing_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    for data in (b"first", b"", b"second\r\n\0"):
        atomic_write(path, data)
        assert path.read_bytes() == data
        assert list(tmp_path.iterdir()) == [path]


@posix
def test_an_existing_file_keeps_its_mode_and_a_new_one_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic_write(tmp_path / "new", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640
    (tmp_path / "new").chmod(0o604)
    atomic_write(tmp_path / "new", b"y")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o604


@posix
def test_a_link_stays_a_link_and_its_target_is_written(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "target"
    target.parent.mkdir()
    target.write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to(target)
    atomic_write(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_folder_that_is_not_there_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic_write(tmp_path / "none" / "file", b"x")
    assert list(tmp_path.iterdir()) == []


LIMITED = """
import resource, sys
from pathlib import Path
from lmstrix.config import atomic_write
from lmstrix.errors import StoreFullError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    atomic_write(Path(sys.argv[1]), b"x" * 2000)
except StoreFullError as error:
    print(error.message)
"""


@posix
def test_without_room_the_old_file_is_intact_and_the_error_says_so(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    told = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True
    ).stdout
    assert told.startswith(f"No room left to write {path} (2,000 bytes)")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


READER = """
import sys
from pathlib import Path
path, sizes = Path(sys.argv[1]), set()
print("ready", flush=True)
while b"end" not in sizes:
    data = path.read_bytes()
    assert len(set(data)) == 1 or data == b"end", "torn"
    sizes.add(data[:4])
"""


@posix
def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic_write(path, b"a" * 100_000)
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as reader:
        assert reader.stdout is not None
        assert reader.stderr is not None
        reader.stdout.readline()
        for number in range(100):
            atomic_write(path, bytes([97 + number % 26]) * (1000 * (number + 1)))
        atomic_write(path, b"end")
        assert reader.stderr.read() == b""
        assert reader.wait() == 0


KILLED = """
import os, signal, sys
from pathlib import Path
import psutil  # which looks after those killed before; its import is a hundred steps
from lmstrix.config import atomic_write
left = int(sys.argv[2])
def count(event, _):
    global left
    if event == "open" or event.startswith("os."):
        left -= 1
        if left == -1:  # and not again at the event that the kill is
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
atomic_write(Path(sys.argv[1]), b"new")
"""


@posix
def test_a_process_killed_at_any_step_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "file"
    found = []
    for step in range(100):
        path.write_bytes(b"old")
        done = subprocess.run([sys.executable, "-c", KILLED, str(path), str(step)], check=False)
        found.append(path.read_bytes())
        if done.returncode == 0:
            break
    assert set(found[:-1]) == {b"old", b"new"}
    assert found[-1] == b"new"
    assert 4 < len(found) < 100


WAITING = """
import os, sys
from pathlib import Path
from lmstrix.config import atomic_write
def wait(event, arguments):
    if event == "os.rename":
        print("written", flush=True)
        sys.stdin.read()
sys.addaudithook(wait)
atomic_write(Path(sys.argv[1]), b"new")
"""


def test_what_a_killed_writer_left_goes_with_the_next_write_and_no_sooner(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with subprocess.Popen(
        [sys.executable, "-c", WAITING, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        (partial,) = set(tmp_path.iterdir()) - {path}
        atomic_write(tmp_path / "other", b"x")
        remove_leftovers(tmp_path)
        assert partial.exists(), "its writer lives"
        writer.kill()
    assert partial.exists()
    writes = "from lmstrix.config import atomic_write; from pathlib import Path; import sys; "
    writes += "atomic_write(Path(sys.argv[1]), b'newer')"
    subprocess.run([sys.executable, "-c", writes, str(path)], check=True)
    assert sorted(tmp_path.iterdir()) == [path, tmp_path / "other"]
    assert path.read_bytes() == b"newer"


def test_a_number_that_is_another_process_by_now_protects_nothing(tmp_path: Path) -> None:
    mine, earlier = partial_beside(tmp_path / "file"), partial_beside(tmp_path / "file")
    for partial in (mine, earlier):
        partial.write_bytes(b"half")
    os.utime(earlier, (1.0, 1.0))  # before this very process began
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [mine]


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    gone = f"-{2**22 + 1}-{'0' * 12}.partial"
    for name in (".file.tmp", "file.partial", f".file.00000000{gone}", f"file.00000000{gone}"):
        (tmp_path / name).write_bytes(b"somebody's")
    before = sorted(tmp_path.iterdir())
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == before


@posix
def test_a_name_as_long_as_they_come_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("日" * 85)
    atomic_write(path, b"x")
    assert list(tmp_path.iterdir()) == [path]
