"""Tests of folders on a disk: whole files after a crash or on a full disk."""

import os
import resource
from pathlib import Path

import pytest

from cascade.storage import local, open_storage
from cascade.storage.atomic import write_json, written_aside
from cascade.storage.local import LocalStorage


@pytest.fixture
def events(monkeypatch):
    """What was forced onto the disk and what got its name, in order: ("sync", inode), ("name", inode)."""
    happened = []
    fsync, replace, hardlink_to = os.fsync, Path.replace, Path.hardlink_to

    def synced(descriptor):
        happened.append(("sync", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def replaced(path, target):
        happened.append(("name", path.stat().st_ino))
        return replace(path, target)

    def linked(path, target):
        happened.append(("name", Path(target).stat().st_ino))
        hardlink_to(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    monkeypatch.setattr(Path, "hardlink_to", linked)
    return happened


def write_aside(folder):
    with written_aside(folder / "file") as aside:
        aside.write_bytes(b"x")


WRITERS = {
    "written_aside": write_aside,
    "write_json": lambda folder: write_json(folder / "file", {}),
    "write": lambda folder: LocalStorage(folder).write("file", b"x"),
    "create": lambda folder: LocalStorage(folder).create("file", b"x"),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_file_is_on_the_disk_before_it_has_its_name_and_its_name_before_the_call_returns(writer, tmp_path, events):
    WRITERS[writer](tmp_path)
    file, folder = (tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino
    assert events == [("sync", file), ("name", file), ("sync", folder)]


@pytest.mark.parametrize("method", ["write", "create", "append"])
def test_names_of_new_folders_are_on_the_disk_before_the_file(method, tmp_path, events):
    getattr(LocalStorage(tmp_path / "place"), method)("a/b/file", b"x")
    folders = [tmp_path, tmp_path / "place", tmp_path / "place" / "a"]  # each holds the name of the next
    assert sorted(events[:3]) == sorted(("sync", folder.stat().st_ino) for folder in folders)


def test_file_that_was_created_by_another_is_not_replaced(tmp_path, events):
    storage = LocalStorage(tmp_path)
    storage.create("file", b"mine")
    inode = (tmp_path / "file").stat().st_ino
    events.clear()
    assert not storage.create("file", b"yours")
    assert (tmp_path / "file").stat().st_ino == inode
    assert storage.names() == ["file"]


def test_file_is_whole_or_absent(tmp_path, monkeypatch):
    storage = LocalStorage(tmp_path)

    def fail(_path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(local, "sync", fail)
    with pytest.raises(OSError, match="No space left"):
        storage.create("ledger/1.json", b"mine")
    assert storage.names("ledger") == []


def test_full_disk_takes_all_that_is_appended_or_nothing(tmp_path):
    storage = LocalStorage(tmp_path)
    storage.append("log", b"x" * 500)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, before[1]))
    try:
        with pytest.raises(OSError, match=r"No space left on device: .*log"):
            storage.append("log", b"y" * 500)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert storage.read("log") == b"x" * 500


def test_folder_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(NotADirectoryError, match="file"):
        open_storage(tmp_path / "file").names()
