"""Tests of cascade.core.processes."""

import os
import sys

import pytest

from cascade.core.processes import process_pool, safe_path


@pytest.fixture
def hostile_folder(tmp_path, monkeypatch):
    """A current folder with modules that leave a trace if they are imported."""
    code = f"open({str(tmp_path / 'TRACE')!r}, 'w').close()\nraise SystemExit(3)\n"
    for name in ("multiprocessing", "json", "numpy", "cascade"):
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
def test_worker_process_imports_nothing_from_the_current_folder(hostile_folder):
    with process_pool(1) as pool:
        assert pool.submit(os.getcwd).result(timeout=60) == str(hostile_folder)
    assert not (hostile_folder / "TRACE").exists()


@pytest.mark.parametrize("before", [None, "", "1"])
def test_environment_is_as_it_was_afterwards(monkeypatch, before):
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    if before is not None:
        monkeypatch.setenv("PYTHONSAFEPATH", before)
    with safe_path():
        assert os.environ["PYTHONSAFEPATH"] == "1"
    assert os.environ.get("PYTHONSAFEPATH") == before
