from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from permissions import bound_by_permissions

from lmstrix.gguf import FoundFiles, find_models

if TYPE_CHECKING:
    from pathlib import Path


def _touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_models_are_found_at_any_depth_and_sorted(tmp_path: Path) -> None:
    deep = _touch(tmp_path / "z" / "publisher" / "repository" / "b.gguf")
    upper = _touch(tmp_path / "A.GGUF")
    assert find_models([tmp_path]) == FoundFiles(paths=(upper, deep))


def test_what_is_no_model_of_its_own_is_left_out(tmp_path: Path) -> None:
    first = _touch(tmp_path / "m-00001-of-00002.gguf")
    for name in (
        "m-00002-of-00002.gguf", "mmproj-m-f16.gguf", "m.mmproj.gguf", ".m.gguf", "m.gguf.part",
        "readme.md", ".downloads/m2.gguf",
    ):  # fmt: skip
        _touch(tmp_path / name)
    (tmp_path / "folder.gguf").mkdir()
    assert find_models([tmp_path]).paths == (first,)


def test_a_hidden_root_is_searched_all_the_same(tmp_path: Path) -> None:
    model = _touch(tmp_path / ".lmstudio" / "m.gguf")
    assert find_models([tmp_path / ".lmstudio"]).paths == (model,)


def test_circles_of_links_end_and_each_file_is_found_once(tmp_path: Path) -> None:
    model = _touch(tmp_path / "real" / "m.gguf")
    try:
        (tmp_path / "real" / "up").symlink_to(tmp_path, target_is_directory=True)
        (tmp_path / "zz-link.gguf").symlink_to(model)
    except OSError:
        pytest.skip("this system makes no links")
    found = find_models([tmp_path, tmp_path / "real", tmp_path])
    assert len(found.paths) == 1
    assert found.complete


def test_a_missing_folder_makes_the_listing_incomplete(tmp_path: Path) -> None:
    model = _touch(tmp_path / "there" / "m.gguf")
    found = find_models([tmp_path / "gone", tmp_path / "there"])
    assert found.paths == (model,)
    assert not found.complete
    assert "gone" in found.problems[0]


def test_a_dangling_link_is_named(tmp_path: Path) -> None:
    try:
        (tmp_path / "m.gguf").symlink_to(tmp_path / "unplugged" / "m.gguf")
    except OSError:
        pytest.skip("this system makes no links")
    found = find_models([tmp_path])
    assert not found.complete
    assert "m.gguf" in found.problems[0]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are POSIX's")
def test_a_folder_without_read_rights_is_named_and_the_rest_is_found(tmp_path: Path) -> None:
    model = _touch(tmp_path / "open" / "m.gguf")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    try:
        with bound_by_permissions():
            found = find_models([tmp_path])
    finally:
        closed.chmod(0o700)
    assert found.paths == (model,)
    assert not found.complete
    assert "closed" in found.problems[0]
    assert "Permission denied" in found.problems[0]
