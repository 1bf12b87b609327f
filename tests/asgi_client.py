"""Requests to a web application without a server: `starlette.testclient` changes the package it needs too often."""

from __future__ import annotations

import asyncio
import json as json_
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlencode


@dataclass(frozen=True)
class Answer:
    status_code: int
    headers: dict[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        return json_.loads(self.content)


class Client:
    """A browser, as far as the application can see; it keeps cookies."""

    def __init__(self, app):
        self.app, self.cookies = app, ""

    def get(self, path, *, params=None, headers=None):
        return self._request("GET", f"{path}?{urlencode(params)}" if params else path, b"", headers or {})

    def post(self, path, *, json=None, content=None, headers=None):
        body = json_.dumps(json).encode() if content is None else content
        return self._request("POST", path, body, {"content-type": "application/json", **(headers or {})})

    def _request(self, method, address, body, headers):
        path, _, query = address.partition("?")
        headers = {"host": "localhost", **({"cookie": self.cookies} if self.cookies else {}), **headers}
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": unquote(path), "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "server": ("localhost", 80), "client": ("127.0.0.1", 1),
        }  # fmt: skip
        sent: list[dict[str, Any]] = []

        async def receive():
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message):
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))
        answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        self.cookies = answered.get("set-cookie", self.cookies).split(";")[0]
        return Answer(sent[0]["status"], answered, b"".join(message.get("body", b"") for message in sent[1:]))
