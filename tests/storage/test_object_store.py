"""Tests of object stores: retries, refusals, and how each kind is connected to."""

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from s3_server import BUCKET

from cascade.core.errors import ConfigError, OutageError
from cascade.storage import ObjectError, object_store, open_storage, stores
from cascade.storage.stores import connect


@pytest.fixture
def impatient(s3, monkeypatch):
    """The S3 server, retried at once and not often."""
    monkeypatch.setattr(stores, "_N_RETRIES", 0)
    monkeypatch.setattr(object_store, "_FIRST_PAUSE_S", 0.01)
    connect.cache_clear()
    return s3


@pytest.fixture
def fresh(monkeypatch):
    """An environment without settings of object stores, and no connections made with others."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_")):
            monkeypatch.delenv(name)
    connect.cache_clear()
    yield
    connect.cache_clear()


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


def test_unavailable_store_is_an_outage_after_some_retries(impatient, s3_folder, monkeypatch):
    impatient.share = 1.0
    monkeypatch.setattr(impatient, "FAULTS", ("refused",))
    impatient.n_requests.clear()
    with pytest.raises(OutageError, match=rf"s3://{BUCKET}/.*/a: the store is unavailable: .*503"):
        open_storage(s3_folder).read("a")
    assert impatient.n_requests.total() == 5


def test_object_at_which_the_store_always_fails_is_no_outage(impatient, s3_folder, monkeypatch):
    storage = open_storage(s3_folder)
    storage.write("good", b"1")
    impatient.broken = "/bad"
    with pytest.raises(ObjectError, match=rf"s3://{BUCKET}/.*/bad: the store fails on this object: .*500 Internal"):
        storage.read("bad")
    assert storage.read("good") == b"1"
    monkeypatch.setattr(impatient, "FAULTS", ("refused",))
    impatient.share = 1.0
    with pytest.raises(OutageError, match="the store is unavailable"):
        storage.read("keys")


def test_store_that_sends_writers_elsewhere_is_an_error_at_once(impatient, s3_folder, monkeypatch):
    monkeypatch.setattr(impatient, "FAULTS", ("moved",))
    impatient.share = 1.0
    impatient.n_requests.clear()
    with pytest.raises(ConfigError, match=r"expected the store itself, got that it is elsewhere; check"):
        open_storage(s3_folder).write("a", b"")
    assert impatient.n_requests.total() == 1


@pytest.fixture
def neighbour():
    """A server of somebody else that would answer any request; and the requests that it got."""
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            got.append(self.path)
            self.send_response(200)
            for name, value in (
                ("Content-Length", "4"),
                ("ETag", '"x"'),
                ("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT"),
            ):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"evil")

        do_HEAD = do_GET  # noqa: N815 - of the library

        def log_message(self, *_args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"localhost:{server.server_port}", got
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_redirect_to_another_host_is_refused_and_not_followed(impatient, s3_folder, neighbour, monkeypatch, scheme):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    connect.cache_clear()
    host, got = neighbour
    storage = open_storage(s3_folder)
    storage.write("a", b"ours")
    monkeypatch.setattr(impatient, "elsewhere", f"{scheme}://{host}/latest/meta-data")
    monkeypatch.setattr(impatient, "FAULTS", ("elsewhere",))
    impatient.share = 1.0
    impatient.n_requests.clear()
    uses = [
        lambda: storage.read("a"),
        lambda: storage.download("a", Path(os.devnull), max_bytes=9),
        storage.names,
        lambda: list(storage.files_below()),
        lambda: storage.write("a", b""),
    ]
    for use in uses:
        with pytest.raises(
            ConfigError, match=r"expected the store itself, got (that it is elsewhere|a redirect to another)"
        ):
            use()
    assert got == []
    assert impatient.n_requests.total() == len(uses)
    impatient.share = 0.0
    assert storage.read("a") == b"ours"


def test_proxy_of_the_user_is_asked(monkeypatch, fresh):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://store.example:9000")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    assert "proxy_url" not in connect("s3://survey").client_options
    monkeypatch.setenv("no_proxy", "store.example")
    connect.cache_clear()
    options = connect("s3://survey").client_options
    assert options["proxy_url"] == "http://127.0.0.1:1"
    assert options["proxy_excludes"].startswith("store.example,sts.amazonaws.com,")


def test_bucket_that_is_not_there_is_an_error_at_once(impatient):
    storage = open_storage("s3://no-such-bucket/RUN")
    impatient.n_requests.clear()
    uses = (lambda: storage.write("a", b""), lambda: storage.create("a", b""), lambda: storage.read("a"), storage.names)
    for use in (*uses, storage.files_below):
        with pytest.raises(FileNotFoundError, match="no such object, or no such bucket"):
            use()
    assert impatient.n_requests.total() == len(uses) + 1


def test_listing_with_a_key_that_cannot_be_taken_says_which(impatient, s3_folder, monkeypatch):
    import boto3

    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    client.put_object(Bucket=BUCKET, Key=f"{s3_folder.split('/', 3)[3]}/a//b", Body=b"")
    with pytest.raises(ConfigError, match=r"expected keys without empty, '.' or '..' parts, got .*a//b.* manifest"):
        open_storage(s3_folder).files_below()


def test_password_of_the_endpoint_is_told_to_nobody(impatient, s3_folder, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", os.environ["AWS_ENDPOINT_URL"].replace("://", "://ada:s3cret@"))
    connect.cache_clear()
    impatient.share = 1.0
    for faults in (("refused",), ("denied",)):
        monkeypatch.setattr(impatient, "FAULTS", faults)
        with pytest.raises((OutageError, PermissionError)) as raised:
            open_storage(s3_folder).read("a")
        assert "://…@" in str(raised.value)
        assert "s3cret" not in str(raised.value)
    with pytest.raises(ConfigError) as raised:
        open_storage("s3://ada:s3cret@bucket/RUN")
    assert "s3cret" not in str(raised.value)


def test_refusal_is_not_retried(impatient, s3_folder, monkeypatch):
    impatient.share = 1.0
    monkeypatch.setattr(impatient, "FAULTS", ("denied",))
    impatient.n_requests.clear()
    storage = open_storage(s3_folder)
    for use in (storage.read, storage.delete, lambda key: storage.write(key, b"x"), storage.names, storage.files_below):
        with pytest.raises(PermissionError, match=rf"s3://{BUCKET}/.*/a: access denied: .*403"):
            use("a")
    assert impatient.n_requests.total() == 5


def test_bucket_that_is_not_there_is_named(s3):
    with pytest.raises(FileNotFoundError, match="s3://nowhere/x/a: no such object, or no such bucket"):
        open_storage("s3://nowhere/x").write("a", b"")


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("url", "settings", "config", "http"),
    [
        ("s3://survey/a/b", {}, {"bucket": "survey"}, False),
        ("s3://survey/a/b", {"AWS_ENDPOINT_URL": "http://x"}, {"bucket": "survey", "endpoint": "http://x"}, True),
        (
            "s3://survey/a/b",
            {"AWS_ENDPOINT_URL_S3": "https://y", "AWS_ENDPOINT_URL": "http://x"},
            {"bucket": "survey", "endpoint": "https://y"},
            False,
        ),
        ("gs://survey/a/b", {}, {"bucket": "survey"}, False),
        ("gs://survey/a/b", {"GOOGLE_BASE_URL": "http://x"}, {"bucket": "survey", "base_url": "http://x"}, True),
        ("az://survey/a/b", {"AZURE_STORAGE_ACCOUNT_NAME": "me"}, {"container_name": "survey"}, False),
        (
            "az://survey/a/b",
            {"AZURE_STORAGE_ACCOUNT_NAME": "me", "AZURE_ENDPOINT": "http://x"},
            {"container_name": "survey", "endpoint": "http://x"},
            True,
        ),
    ],
)
def test_store_is_connected_to_as_the_environment_says(url, settings, config, http, monkeypatch):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    store = connect(url)
    assert store.prefix == "a/b"
    assert {key: store.config[key] for key in config} == config
    assert set(store.config) & {"endpoint", "base_url"} == set(config) & {"endpoint", "base_url"}
    assert store.client_options["allow_http"] == str(http).lower()
    assert store.retry_config["max_retries"] == 8
    assert connect(url) is store
    assert connect(url.removesuffix("/a/b")).prefix is None


@pytest.mark.usefixtures("fresh")
def test_missing_setting_says_where_settings_come_from():
    with pytest.raises(ConfigError, match=r"az://survey/x: .*Account must be specified; .* variables, AZURE_…"):
        open_storage("az://survey/x").read("a")


def test_azure_creates_an_object_once(s3, s3_folder, monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "nobody")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sig=nothing")
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", os.environ["AWS_ENDPOINT_URL"])
    storage = open_storage(s3_folder.replace("s3://", "az://"))
    assert storage.create("ledger/1.json", b"mine")
    assert not storage.create("ledger/1.json", b"yours")
    assert storage.read("ledger/1.json") == b"mine"
    with pytest.raises(FileNotFoundError, match=r"az://.*2\.json: no such object"):
        storage.read("ledger/2.json")
