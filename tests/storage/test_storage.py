"""Tests of cascade.storage.places, on a disk and on an S3 server."""

import os
import pickle
import threading

import pytest
from s3_server import BUCKET

from cascade.core.errors import ConfigError, OutageError, StoreError
from cascade.storage import places as module
from cascade.storage.atomic import json_bytes, parse_json
from cascade.storage.places import LocalStorage, S3Storage, open_storage, split_url


@pytest.fixture(params=["disk", "s3"])
def storage(request, tmp_path):
    if request.param == "disk":
        return open_storage(tmp_path / "place")
    return open_storage(request.getfixturevalue("s3_folder"))


def test_file_is_read_back(storage):
    storage.write("a/b/c.bin", b"one")
    storage.write("a/b/c.bin", b"two")
    assert storage.read("a/b/c.bin") == b"two"
    assert pickle.loads(pickle.dumps(storage)).read("a/b/c.bin") == b"two"


def test_missing_file_is_an_error_that_names_it(storage):
    with pytest.raises(FileNotFoundError, match=r"none\.bin"):
        storage.read("a/none.bin")
    storage.delete("a/none.bin")
    storage.delete_below("a")


def test_file_is_created_once(storage):
    assert storage.create("ledger/1.json", b"mine")
    assert not storage.create("ledger/1.json", b"yours")
    assert storage.create("ledger/1.json", b"mine")  # it is there as asked for
    assert storage.read("ledger/1.json") == b"mine"
    assert storage.names("ledger") == ["1.json"]


def test_of_many_that_create_a_file_one_succeeds(storage):
    results = []
    threads = [
        threading.Thread(target=lambda n=n: results.append(storage.create("ledger/1.json", b"%d" % n)))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False] * 7 + [True]


def test_names_are_those_of_one_folder_and_files_those_below(storage):
    for key in ("top.txt", "a/1", "a/2", "a/b/3", "ab/4"):
        storage.write(key, b"x")
    assert storage.names() == ["a", "ab", "top.txt"]
    assert storage.names("a") == ["1", "2", "b"]
    assert storage.names("none") == []
    assert sorted(storage.files_below("a")) == ["a/1", "a/2", "a/b/3"]
    assert list(storage.read_many(["a/2", "top.txt"])) == [b"x", b"x"]
    storage.delete_below("a")
    assert storage.names() == ["ab", "top.txt"]


def test_file_over_the_limit_is_not_read(storage):
    storage.write("big", b"x" * 2**20)
    assert len(storage.read("big", max_bytes=2**20)) == 2**20
    storage.write("big", b"x" * (2**20 + 1))
    with pytest.raises(ValueError, match="expected at most 1 MiB, got a larger file"):
        storage.read("big", max_bytes=2**20)


def test_local_file_is_whole_or_absent(tmp_path, monkeypatch):
    storage = LocalStorage(tmp_path)

    def fail(_path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "sync", fail)
    with pytest.raises(OSError, match="No space left"):
        storage.create("ledger/1.json", b"mine")
    assert storage.names("ledger") == []


def test_relative_folder_stays_the_same_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage = open_storage("here").absolute()
    monkeypatch.chdir("/")
    storage.write("a", b"x")
    assert (tmp_path / "here" / "a").read_bytes() == b"x"


@pytest.mark.parametrize("url", ["s3://", "s3://b", "s3://Bad_Bucket/x", "s3://bucket/../x", "s3://bucket//x"])
def test_url_of_another_form_is_refused(url):
    with pytest.raises(ConfigError, match=r"expected s3://bucket/prefix, got another form"):
        open_storage(url)


def test_url_is_split():
    assert split_url("s3://survey/a/b/") == ("survey", "a/b")
    assert split_url("s3://survey") == ("survey", "")
    assert open_storage("s3://survey/a/").absolute() == S3Storage("s3://survey/a")


@pytest.mark.slow
def test_flaky_store_loses_nothing(s3, s3_folder):
    storage = open_storage(s3_folder)
    s3.share = 0.2
    for n in range(60):
        assert storage.create(f"ledger/{n:02d}", b"%d" % n), n
        storage.write(f"parts/{n:02d}", b"%d" % n)
    assert storage.names("ledger") == [f"{n:02d}" for n in range(60)]
    assert list(storage.read_many(f"parts/{n:02d}" for n in range(60))) == [b"%d" % n for n in range(60)]
    assert min(s3.n_faults[fault] for fault in s3.FAULTS) > 5


def test_store_that_stays_away_is_an_outage(s3, s3_folder, monkeypatch):
    monkeypatch.setattr(module, "_N_RETRIES", 0)
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.01)
    module._s3_store.cache_clear()
    s3.share = 1.0
    monkeypatch.setattr(s3, "FAULTS", ("refused",))
    with pytest.raises(OutageError, match=rf"s3://{BUCKET}/.*/a: the store cannot be reached: .*503"):
        open_storage(s3_folder).read("a")


def test_bucket_that_is_not_there_is_named(s3):
    with pytest.raises(FileNotFoundError, match="s3://nowhere/x/a: no such object, or no such bucket"):
        open_storage("s3://nowhere/x").write("a", b"")


def test_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "obstore.store", None)
    module._s3_store.cache_clear()
    with pytest.raises(ConfigError, match=r"expected obstore for object stores.*pip install 'ghost-cascade\[s3\]'"):
        open_storage("s3://survey/x").read("a")


def test_credentials_are_not_pickled(s3, s3_folder):
    assert os.environ["AWS_SECRET_ACCESS_KEY"].encode() not in pickle.dumps(open_storage(s3_folder))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{half", "expected JSON, got .*; the file is damaged"), (b"[]", "expected a JSON object, got list")],
)
def test_damaged_json_is_named(content, message):
    with pytest.raises(StoreError, match=f"a.json: {message}"):
        parse_json(content, "a.json")
    assert parse_json(json_bytes({"a": 1}), "a.json") == {"a": 1}
