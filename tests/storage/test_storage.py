"""Every kind of storage passes `StorageConformance`, and names lead to them."""

import os
import pickle
from functools import lru_cache
from pathlib import Path

import pytest
from conformance import StorageConformance

from cascade.core.errors import ConfigError
from cascade.storage import is_url, local_path, object_store, open_bucket, open_storage
from cascade.storage.object_store import ObjectStorage


class TestLocal(StorageConformance):
    @pytest.fixture
    def storage(self, tmp_path):
        return open_storage(tmp_path / "place")


class TestMemory(StorageConformance):
    """The object store of obstore that needs no server; nobody's runs, since no other process sees them."""

    @pytest.fixture
    def storage(self, monkeypatch):
        from obstore.store import MemoryStore

        monkeypatch.setattr(object_store, "connect", lru_cache(lambda _url: MemoryStore()))
        return ObjectStorage("memory://survey/place")


class TestS3(StorageConformance):
    @pytest.fixture
    def storage(self, s3_folder):
        return open_storage(s3_folder)


class TestGoogle(StorageConformance):
    @pytest.fixture
    def storage(self, s3, s3_folder, monkeypatch):
        monkeypatch.setenv("GOOGLE_BASE_URL", os.environ["AWS_ENDPOINT_URL"])
        monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "nothing")
        return open_storage(s3_folder.replace("s3://", "gs://"))


def test_relative_folder_stays_the_same_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage = open_storage("here").absolute()
    monkeypatch.chdir("/")
    storage.write("a", b"x")
    assert (tmp_path / "here" / "a").read_bytes() == b"x"


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_url_gives_the_storage_of_its_prefix(scheme):
    url = f"{scheme}://survey/a/b"
    assert is_url(url)
    for place in (url, f"{url}/", Path(url)):  # a path has lost a slash
        assert open_storage(place) == open_storage(url).absolute() == ObjectStorage(url)
    assert open_storage(url).folder is None
    assert open_storage(f"{scheme}://survey").url == f"{scheme}://survey"
    assert open_bucket(f"{url}/") == (ObjectStorage(f"{scheme}://survey"), "a/b")
    assert open_bucket(f"{scheme}://survey") == (ObjectStorage(f"{scheme}://survey"), "")


@pytest.mark.parametrize("name", ["survey/a", "/survey", "file://survey", "x-s3://survey", "s3:x/a", "s3", ""])
def test_other_name_is_that_of_a_folder(name):
    assert not is_url(name)
    assert open_storage(name).folder == local_path(name) == Path(name)


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("s3://", "s3://bucket/prefix"),
        ("s3://b", "s3://bucket/prefix"),
        ("s3://Bad_Bucket/x", "s3://bucket/prefix"),
        ("s3://bucket/../x", "s3://bucket/prefix"),
        ("s3://bucket//x", "s3://bucket/prefix"),
        ("s3://bucket/a\nb", "s3://bucket/prefix"),
        ("gs://Bad_Bucket/x", "gs://bucket/prefix"),
        ("az://bad_container/x", "az://container/prefix"),
    ],
)
def test_url_of_another_form_is_refused(url, form):
    for opened in (open_storage, open_bucket):
        shown = url.replace("\n", " ")
        with pytest.raises(ConfigError, match=f"^{shown}: expected {form}, got an invalid name"):
            opened(url)


def test_bucket_may_be_named_as_its_store_allows():
    assert open_storage("gs://my_survey/x").url == "gs://my_survey/x"
    assert open_storage("az://my-survey/x").url == "az://my-survey/x"


def test_url_is_no_place_on_this_machine():
    with pytest.raises(ConfigError, match=r"gs:/survey/x: expected a local path, got a URL; write locally"):
        local_path(Path("gs://survey/x"))


@pytest.mark.parametrize("url", ["s3://survey/x", "gs://survey/x", "az://survey/x"])
def test_missing_package_says_what_to_install(url, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "obstore", None)
    for opened in (open_storage, open_bucket):
        with pytest.raises(ConfigError, match=r"expected obstore for object stores.*pip install 'ghost-cascade\[s3\]'"):
            opened(url)


def test_credentials_are_not_pickled(s3, s3_folder):
    assert os.environ["AWS_SECRET_ACCESS_KEY"].encode() not in pickle.dumps(open_storage(s3_folder))
