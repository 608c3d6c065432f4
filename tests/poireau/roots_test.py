"""Files in a root whose owner means us harm: what they lead to, and what they are."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from poireau import glimpse, roots, snapshot
from poireau.errors import Failure

INSIDE = "import os, sys; os.chroot(sys.argv[1]); print('ready', flush=True); sys.stdin.read()"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """What is "/" for `root`; everything in tmp_path beside it is none of its business."""
    assert os.geteuid() == 0, "this is to be run by root"
    (tmp_path / "own").mkdir()
    return tmp_path / "own"


@pytest.fixture
def root(own: Path) -> Iterator[Path]:
    """The same as /proc/PID/root of somebody in there."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", INSIDE, own], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield roots.root_of(process.pid)
        process.kill()


def test_a_file_is_found_and_read(own: Path, root: Path) -> None:
    (own / "a").mkdir()
    (own / "a" / "file").write_text("told")
    with roots.open_file(root / "a" / "file") as file:
        assert file.read() == b"told"
    assert roots.inode_of(root / "a" / "file") == (own / "a" / "file").stat().st_ino
    assert roots.names_in(root / "a", str, 10) == ["file"]


def test_no_link_leads_out(own: Path, root: Path) -> None:
    outside = own.parent / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (own / "directory").symlink_to(outside)
    (own / "upwards").symlink_to("../outside")
    (own / "file").symlink_to(outside / "secret")
    for path in ("directory/secret", "upwards/secret", "file", "../outside/secret"):
        for function in (roots.open_file, roots.inode_of):
            if (path, function) != ("file", roots.inode_of):  # the link itself is there
                with pytest.raises(OSError):
                    function(root / path)
        with pytest.raises(OSError):
            roots.open_file(roots.without_links(root, path))
    with pytest.raises(OSError):
        roots.names_in(root / "directory", str, 10)


def test_links_lead_where_they_do_for_who_is_in_there(own: Path, root: Path) -> None:
    (own / "a" / "b").mkdir(parents=True)
    (own / "a" / "b" / "file").write_text("")
    (own / "absolute").symlink_to("/a/./b")
    (own / "a" / "relative").symlink_to("../../../../absolute")
    (own / "round").symlink_to("round")
    assert roots.without_links(root, "/a/relative//file") == root / "a/b/file"
    assert roots.without_links(root, "a/../absolute/.") == root / "a/b"
    with pytest.raises(OSError) as failure:
        roots.without_links(root, "/round")
    assert failure.value.errno == errno.ELOOP


def test_pipes_devices_and_directories_are_not_opened(own: Path, root: Path) -> None:
    os.mkfifo(own / "samples_1")
    os.mknod(own / "samples_2", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    (own / "samples_3").mkdir()
    for name in os.listdir(own):
        with pytest.raises(OSError):
            roots.open_file(root / name)
    assert glimpse.pace_of(root) == glimpse.Pace()
    assert glimpse.settings_of(root) == {}


def test_files_without_end_take_no_time(own: Path, root: Path) -> None:
    for name in ("facts_1", "samples_1", "metadata"):
        with open(own / name, "wb") as file:
            file.truncate(1 << 43)
    assert glimpse.pace_of(root) == glimpse.Pace()
    assert glimpse.settings_of(root) == {}
    snapshot.copy(root, 0, own.parent / "to")
    assert sum(path.stat().st_size for path in (own.parent / "to").iterdir()) <= 4 << 20


def test_nothing_of_others_is_copied(own: Path, root: Path) -> None:
    outside = own.parent / "outside"
    outside.mkdir()
    (outside / "metadata").write_text("secret")
    (own / "trace").symlink_to(outside)
    (own / "linked").mkdir()
    (own / "linked" / "metadata").symlink_to(outside / "metadata")
    for trace in (root / "trace", root / "linked"):
        with pytest.raises(Failure):
            snapshot.copy(trace, 0, own.parent / "to")
    assert not (own.parent / "to").exists()
