"""Tests of cascade.core.user_cache."""

import os
import stat
import sys

import pytest

from cascade.core.errors import ConfigError
from cascade.core.user_cache import check_own, user_cache

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "root"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "root"


def test_the_folder_is_made_for_the_user_alone(root):
    assert user_cache() == user_cache() == root / "ghost-cascade"
    assert stat.S_IMODE(user_cache().stat().st_mode) == 0o700
    assert list(user_cache().iterdir()) == []


@pytest.mark.parametrize("value", ["", "relative"])
def test_a_relative_root_is_ignored(root, monkeypatch, value):
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert user_cache() == root.parent / "home" / ".cache" / "ghost-cascade"


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o707])
def test_a_folder_that_others_can_write_is_refused(root, mode):
    user_cache().chmod(mode)
    with pytest.raises(ConfigError, match=f"ghost-cascade: expected to be of user .* mode {mode:o}; remove it, or"):
        user_cache()


def test_a_file_of_another_user_is_refused(tmp_path, monkeypatch):
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    with pytest.raises(ConfigError, match=f"expected to be of user {uid + 1} and .*, got user {uid}"):
        check_own(tmp_path)


def test_a_folder_that_cannot_be_made_is_an_error(root):
    root.write_text("")
    with pytest.raises(ConfigError, match="ghost-cascade: expected a folder that can be written, got Not a directory"):
        user_cache()


def test_a_user_without_a_home_is_told(root, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("cascade.core.user_cache.Path.home", lambda: (_ for _ in ()).throw(RuntimeError))
    with pytest.raises(ConfigError, match="XDG_CACHE_HOME: expected an absolute path, or a home folder, got neither"):
        user_cache()
