"""Tests of cascade.runs.lease."""

import json
import os
import subprocess
import sys
import time

import pytest

from cascade.core.errors import StoreError
from cascade.runs import lease as module
from cascade.runs.lease import Holder, find_holder, hold_lease
from cascade.storage import open_storage


@pytest.fixture(params=["disk", "s3"])
def storage(request, tmp_path):
    return open_storage(tmp_path if request.param == "disk" else request.getfixturevalue("s3_folder"))


def somebody(**changes):
    """A lease of another machine, renewed just now."""
    values = {"host": "far", "pid": 7, "kernel": "another", "started": "1", "token": "t", "renewed": time.time()}
    return {**values, "released": False, **changes}


def write(storage, number, **changes):
    storage.write(f"lease/{number:08d}.json", json.dumps(somebody(**changes)).encode())


def test_second_holder_is_refused_until_the_first_is_done(storage):
    assert find_holder(storage) is None
    with hold_lease(storage):
        assert find_holder(storage).pid == os.getpid()
        with (
            pytest.raises(StoreError, match=rf"no other active run, got one on .* \(pid {os.getpid()}\), active"),
            hold_lease(storage),
        ):
            pass
    assert find_holder(storage) is None
    with hold_lease(storage):
        pass
    assert storage.names("lease") == ["00000002.json"]


def test_lease_of_another_machine_counts_until_it_expires(storage):
    write(storage, 3)
    with pytest.raises(StoreError, match=r"got one on far \(pid 7\), active 0 s ago; .* \(if it was killed: 1\d\d s\)"):
        hold_lease(storage).__enter__()
    write(storage, 3, renewed=time.time() - module.EXPIRES_AFTER_S)
    with hold_lease(storage):
        assert storage.names("lease") == ["00000004.json"]


def test_lease_of_a_killed_process_of_this_machine_counts_no_more(tmp_path):
    script = f"""
import os
from cascade.runs.lease import hold_lease
from cascade.storage import open_storage
hold_lease(open_storage({str(tmp_path)!r})).__enter__()
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    storage = open_storage(tmp_path)
    assert storage.names("lease") == ["00000001.json"]
    assert find_holder(storage) is None
    with hold_lease(storage):
        pass


def test_process_that_took_over_the_number_of_a_dead_one_is_not_it():
    mine = {"pid": os.getpid(), "kernel": module._kernel()}
    assert Holder(**somebody(**mine, started=module._started(os.getpid()))).is_live()
    if mine["kernel"]:
        assert not Holder(**somebody(**mine, started="12")).is_live()


def test_lease_is_renewed_and_its_loss_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_RENEWED_EVERY_S", 0.02)
    storage = open_storage(tmp_path)
    with hold_lease(storage) as lease:
        first = find_holder(storage).renewed
        deadline = time.monotonic() + 30
        while find_holder(storage).renewed == first and time.monotonic() < deadline:
            time.sleep(0.01)
        assert find_holder(storage).renewed > first
        lease.check()
        write(storage, 2)
        lease._thread.join(30)
        with pytest.raises(StoreError, match=r"taken over by a run on far \(pid 7\)"):
            lease.check()
    assert not find_holder(storage).released  # it is no longer ours to release


def test_store_that_is_away_for_a_moment_costs_no_lease(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(module, "_RENEWED_EVERY_S", 0.02)
    storage = open_storage(tmp_path)
    with hold_lease(storage) as lease:
        with monkeypatch.context() as patch:
            patch.setattr(module, "_newest", lambda _storage: (_ for _ in ()).throw(OSError(5, "Input/output error")))
            deadline = time.monotonic() + 30
            while "could not be renewed" not in caplog.text and time.monotonic() < deadline:
                time.sleep(0.01)
        lease.check()
    assert "Input/output error" in caplog.text


def test_one_of_two_that_see_it_free_gets_it(tmp_path, monkeypatch):
    storage = open_storage(tmp_path)
    monkeypatch.setattr(type(storage), "create", lambda _storage, key, data: write(storage, 1) or False)
    with pytest.raises(StoreError, match="got one on far"):
        hold_lease(storage).__enter__()


def test_damaged_lease_is_named(tmp_path):
    storage = open_storage(tmp_path)
    storage.write("lease/00000001.json", b'{"moon": 1}')
    with pytest.raises(StoreError, match=r"lease/00000001.json: expected a lease, got .*delete the file"):
        find_holder(storage)
