from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from asgi_client import Client
from looked_at import FAILED, FOUND, looked_at

from cascade.core.artifact import Artifact
from cascade.core.errors import ConfigError
from cascade.pages.review import ReviewSession, serve
from cascade.pages.review import app as app_module
from cascade.pages.review import connections as connections_module
from cascade.pages.review.app import COOKIE, MAX_BODY_BYTES, review_app
from cascade.pages.review.serve import is_local
from cascade.pages.review.token import review_token
from cascade.runs.verdicts import read_verdicts

LOCAL = frozenset({"localhost"})
TOKEN = "s3cret"
SQUARE = [[20, 180], [60, 180], [60, 220], [20, 220]]
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path):
    return looked_at(tmp_path)


@pytest.fixture
def client(run):
    client = Client(review_app(ReviewSession(run), hosts=LOCAL, token=TOKEN))
    client.get(f"/?token={TOKEN}")
    return client


def shown(client, exposure, reviewer="Ada"):
    return client.get(f"/api/exposures/{exposure}", params={"reviewer": reviewer}).json()


def verdict(client, exposure, action, *, key="k", reviewer="Ada", **more):
    known = shown(client, exposure, reviewer).get("subject", "")
    content = {"key": key, "reviewer": reviewer, "exposure": exposure, "subject": known, "action": action, **more}
    return client.post("/api/verdicts", json=content)


def test_the_queue_begins_with_the_most_doubtful(client):
    queue = client.get("/api/queue", params={"reviewer": "Ada"}).json()
    assert queue["doubt"] == sorted(queue["doubt"], reverse=True)
    assert FAILED not in queue["exposure"]
    assert queue["exposure"][0] == 3
    assert {e for e, flagged in zip(queue["exposure"], queue["flagged"], strict=True) if flagged} == set(FOUND)


def test_a_preview_is_a_picture_of_the_run(client):
    response = client.get("/api/previews/1.png")
    assert response.headers["content-type"] == "image/png"
    assert response.content[:4] == b"\x89PNG"


def test_a_verdict_is_on_the_disk_when_it_is_answered(run, client):
    assert verdict(client, 1, "accept").status_code == 201
    (saved,) = read_verdicts(run.storage)
    assert (saved.reviewer, saved.exposure, saved.action) == ("Ada", 1, "accept")
    assert shown(client, 1)["mine"]["judgement"] == "accepted"


def test_others_are_named_only_to_those_who_made_up_their_mind(client):
    verdict(client, 1, "accept")
    assert shown(client, 1, "Bob")["others"] == []
    verdict(client, 1, "reject", reviewer="Bob", key="b")
    assert shown(client, 1, "Bob")["others"] == [["Ada", "accepted"]]
    assert shown(client, 1, "Ada")["mine"]["judgement"] == "accepted"


def test_drawing_renaming_deleting_and_undoing(client):
    drawn = verdict(client, 3, "draw", key="1", **{"class": "rays", "polygon": SQUARE}).json()["mine"]["drawn"][0]
    assert drawn["outlines"] == [[40, 360, 120, 360, 120, 440, 40, 440]]
    renamed = verdict(client, 3, "class", key="2", artifact=drawn["name"], **{"class": "faint"}).json()
    assert renamed["mine"]["drawn"][0]["class"] == "faint"
    assert verdict(client, 3, "delete", key="3", artifact=drawn["name"]).json()["mine"] is None
    undone = client.post("/api/undo", json={"key": "4", "reviewer": "Ada"}).json()
    assert undone["mine"]["drawn"][0]["class"] == "faint"
    for key in "567":
        answer = client.post("/api/undo", json={"key": key, "reviewer": "Ada"}).json()
    assert answer is None


@pytest.mark.parametrize("exposure", [FAILED, 10**6, -1])
def test_a_verdict_on_an_exposure_that_does_not_exist_is_refused(run, client, exposure):
    content = {"key": "k", "reviewer": "Ada", "exposure": exposure, "subject": "s", "action": "accept"}
    response = client.post("/api/verdicts", json=content)
    assert response.status_code == 404
    assert "not in the run, or failed" in response.json()["error"]
    assert read_verdicts(run.storage) == []


@pytest.mark.parametrize(
    ("changes", "status", "problem"),
    [
        ({"exposure": "1"}, 400, "expected the position"),
        ({"exposure": True}, 400, "expected the position"),
        ({"subject": "other"}, 409, "load the page again"),
        ({"action": "drop table"}, 400, "action: expected one of"),
        ({"reviewer": "<\n>"}, 400, "reviewer: expected a name"),
        ({"reviewer": None}, 400, "reviewer: expected a string"),
        ({"action": "delete", "artifact": "../m0"}, 400, "expected one of the artifacts m0"),
        ({"action": "class", "artifact": "m0", "class": "<b>"}, 400, "artifact class: expected one of"),
        ({"action": "draw", "class": "rays", "polygon": "abc"}, 400, "polygon: expected pairs"),
        ({"action": "draw", "class": "rays", "polygon": [[0, 0]] * 501}, 400, "3 to 500 corners"),
    ],
)
def test_what_is_no_verdict_is_not_logged(run, client, changes, status, problem):
    content = {"key": "k", "reviewer": "Ada", "exposure": 1, "subject": shown(client, 1)["subject"], "action": "accept"}
    response = client.post("/api/verdicts", json={**content, **changes})
    assert response.status_code == status
    assert problem in response.json()["error"]
    assert read_verdicts(run.storage) == []


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b"[]", 400), (b"[" * 9999, 400), (b'"' + b"x" * MAX_BODY_BYTES + b'"', 413)]
)
def test_bodies_that_are_no_json_object_are_refused(client, body, status):
    response = client.post("/api/verdicts", content=body, headers={"content-type": "application/json"})
    assert response.status_code == status


@pytest.mark.parametrize(
    "path",
    [
        "/static/..%2f..%2fdesk.py",
        "/static/%2e%2e/%2e%2e/run.json",
        "/run.json",
        "/verdicts.sqlite",
        "/static//etc/passwd",
        "/api/previews/..%2F..%2Fetc%2Fpasswd.png",
        "/api/previews/-1.png",
        "/static/review.html",
    ],
)
def test_no_path_of_the_server_can_be_read(client, path):
    assert client.get(path).status_code == 404


def test_every_answer_forbids_what_the_page_does_not_need(client):
    for path in ("/", "/api/queue", "/static/review.js", "/api/exposures/999", "/nowhere", "/api/verdicts"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_a_name_that_somebody_else_points_here_is_refused(client):
    response = client.get("/api/queue", headers={"host": "evil.example"})
    assert (response.status_code, response.text) == (403, "this server is not called that")


@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.example"}, {"origin": "null"}, {"content-type": "text/plain"}]
)
def test_other_sites_cannot_judge(run, client, headers):
    known = shown(client, 1)["subject"]
    content = {"key": "k", "reviewer": "Ada", "exposure": 1, "subject": known, "action": "accept"}
    headers = {"content-type": "application/json", **headers}
    assert client.post("/api/verdicts", content=json.dumps(content), headers=headers).status_code == 403
    assert read_verdicts(run.storage) == []


@pytest.mark.parametrize("hosts", [LOCAL, None])
def test_a_browser_without_the_token_learns_nothing(run, hosts):
    app = review_app(ReviewSession(run), hosts=hosts, token=TOKEN)
    stranger = Client(app)
    for path in ("/?token=wrong", "/?token=", "/api/queue?token=s3cret", "/static/review.js", "/api/previews/1.png"):
        assert stranger.get(path).status_code == 403
    assert stranger.post("/api/verdicts", json={}).status_code == 403
    notice = stranger.get("/")
    assert notice.status_code == 200
    assert "open the address that cascade review printed" in notice.text
    assert "script" not in notice.text
    friend = Client(app)
    first = friend.get("/?token=s3cret")
    assert (first.status_code, first.headers["location"]) == (303, "/")
    assert "HttpOnly" in first.headers["set-cookie"]
    assert "SameSite=strict" in first.headers["set-cookie"]
    assert friend.get("/").status_code == 200
    assert friend.get("/api/queue").status_code == 200


def test_a_body_that_does_not_come_is_not_waited_for(run, monkeypatch):
    monkeypatch.setattr(app_module, "BODY_TIMEOUT_S", 0.05)

    async def post():
        sent = []

        async def receive():
            await asyncio.sleep(60)

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": "/api/verdicts", "query_string": b"", "root_path": "",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json"),
                        (b"cookie", f"{COOKIE}={TOKEN}".encode())],
        }  # fmt: skip
        await review_app(ReviewSession(run), hosts=LOCAL, token=TOKEN)(scope, receive, send)
        return sent

    start, body = asyncio.run(post())
    assert start["status"] == 408
    assert json.loads(body["body"]) == {"error": "expected a whole request within 0.05 s"}


def test_the_token_is_kept_in_a_file_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    token = review_token()
    path = tmp_path / "ghost-cascade" / "review-token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == token == review_token()
    assert len(token) == 32


@pytest.mark.parametrize("harm", ["readable", "link", "short", "fifo"])
def test_a_token_that_others_may_know_is_not_used(tmp_path, monkeypatch, harm):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    token = review_token()
    path = tmp_path / "ghost-cascade" / "review-token"
    if harm == "readable":
        path.chmod(0o644)
    elif harm == "short":
        path.write_text("abc")
    else:
        path.rename(tmp_path / "other")
        path.symlink_to(tmp_path / "other") if harm == "link" else os.mkfifo(path)
    assert review_token() not in (token, "abc")
    assert path.is_file()
    assert not path.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_where_no_token_can_be_kept_every_server_has_its_own(tmp_path, monkeypatch, caplog):
    (tmp_path / "ghost-cascade").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert review_token() != review_token()
    assert "pages that are open must be opened again" in caplog.text


def test_only_this_machine_is_local():
    assert [is_local(host) for host in ("127.0.0.1", "::1", "localhost", "127.1.2.3")] == [True] * 4
    assert [is_local(host) for host in ("0.0.0.0", "192.168.1.2", "::", "myhost")] == [False] * 4


def test_an_address_that_cannot_be_had_is_said_in_one_line(run):
    with pytest.raises(ConfigError, match="expected an address that is free"):
        serve(ReviewSession(run), host="203.0.113.1", port=80, on_ready=print)


class Server:
    """`cascade review` in a process of its own."""

    def __init__(self, run):
        command = [sys.executable, "-m", "cascade", "review", str(run), "--port", "0"]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1", "XDG_CACHE_HOME": str(run)}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        line = self.process.stdout.readline()
        self.address, token = re.search(r"(http://\S+/)\?token=(\S+)", line).groups()
        self.cookie = {"cookie": f"{COOKIE}={token}"}

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def get(self, path):
        with urllib.request.urlopen(urllib.request.Request(self.address + path, headers=self.cookie)) as response:
            return json.load(response)

    def post(self, path, content):
        headers = {"content-type": "application/json", **self.cookie}
        request = urllib.request.Request(self.address + path, json.dumps(content).encode(), headers)
        with urllib.request.urlopen(request) as response:
            return json.load(response)


@pytest.mark.slow
def test_a_server_killed_between_two_verdicts_has_lost_none(run):
    server = Server(run.path)
    known = server.get("api/exposures/1?reviewer=Ada")["subject"]
    content = {"key": "one", "reviewer": "Ada", "exposure": 1, "subject": known, "action": "accept"}
    server.post("api/verdicts", content)
    server.kill()
    server = Server(run.path)
    try:
        assert server.get("api/exposures/1?reviewer=Ada")["mine"]["judgement"] == "accepted"
        server.post("api/verdicts", content)  # its answer had got lost
        drawing = {"action": "draw", "class": Artifact.RAYS.label, "polygon": SQUARE}
        server.post("api/verdicts", {**content, "key": "two", **drawing})
    finally:
        server.kill()
    assert [v.action for v in read_verdicts(run.storage)] == ["accept", "draw"]


@pytest.fixture
def limited(monkeypatch):
    """A server of this thread that answers everything with ok, and takes four connections."""
    import uvicorn

    async def app(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    monkeypatch.setattr(connections_module, "MAX_CONNECTIONS", 4)
    monkeypatch.setattr(connections_module, "_REQUEST_S", 0.5)
    config = uvicorn.Config(
        app, port=0, lifespan="off", ws="none", log_level="warning", http=connections_module.LimitedProtocol
    )
    return uvicorn.Server(config)


async def connected(server, sent):
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    await writer.drain()
    return reader, writer


async def served(server, test):
    task = asyncio.create_task(server.serve(sockets=[socket.create_server(("127.0.0.1", 0))]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        return await asyncio.wait_for(test(), timeout=20)
    finally:
        server.should_exit = True
        await task


def test_connections_that_send_no_request_do_not_keep_others_out(limited):
    async def test():
        slow = [await connected(limited, b"GET / HTTP/1.1\r\nX: ") for _ in range(6)]
        reader, writer = await connected(limited, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"ok")
        for one in (*(writer for _, writer in slow), writer):
            one.close()

    asyncio.run(served(limited, test))


def test_a_request_that_does_not_come_is_not_waited_for(limited):
    async def test():
        request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        reader, writer = await connected(limited, request)
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        writer.write(request[:9])  # a second one, which never ends
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()

    asyncio.run(served(limited, test))


def test_interrupt_ends_the_server_whatever_is_connected(run):
    server = Server(run.path)
    port = int(re.search(r":(\d+)/", server.address)[1])
    with socket.create_connection(("127.0.0.1", port)) as half:
        half.sendall(b"GET / HTTP/1.1\r\nX: ")
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(timeout=30) == 0
    server.process.stdout.close()
