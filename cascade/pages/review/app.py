"""The review page as a web application: a few fixed addresses, none of which is a path of the disk."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from importlib import resources
from secrets import compare_digest
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cascade.core.errors import CascadeError, InputError
from cascade.pages.report.classes import SCRIPT, STYLE, classes_css, classes_js
from cascade.pages.report.page import static_text
from cascade.pages.review.session import ReviewSession, StaleSubjectError, UnknownExposureError

COOKIE = "cascade_review"

MAX_BODY_BYTES = 2**16
BODY_TIMEOUT_S = 10.0

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "X-Frame-Options": "DENY",
}
_WITH_TOKEN = "open the address that cascade review printed, with its token"
_TYPES = {"js": "text/javascript", "css": "text/css", "html": "text/html"}
_STATUSES: Mapping[type[CascadeError], int] = {InputError: 400, UnknownExposureError: 404, StaleSubjectError: 409}

Endpoint = Callable[[Request], Awaitable[Response]]


def review_app(session: ReviewSession, *, hosts: frozenset[str] | None, token: str) -> ASGIApp:
    """
    Build the application.

    Parameters
    ----------
    session : ReviewSession
    hosts : frozenset of str or None
        Names by which a browser may call the server; None for any. A site elsewhere can point a name of its own at this
        machine; its name is not among these.
    token : str
        What a browser must bring: once as ``/?token=…``, then as a cookie. Without it there is only a notice.
    """
    shared = {name: static_text(name) for name in ("theme.css", "focal.js", "virtual.js")}
    own = {name: _static(name) for name in ("review.css", "outbox.js", "panes.js", "review.js")}
    files = {**shared, **own, STYLE: classes_css(), SCRIPT: classes_js()}

    async def page(request: Request) -> Response:
        if "token" in request.query_params:
            response = RedirectResponse("/", status_code=303)
            response.set_cookie(COOKIE, token, httponly=True, samesite="strict")
            return response
        if not _brings(request, token):
            return Response(f"This is the review page of ghost-cascade: {_WITH_TOKEN}.\n", media_type="text/plain")
        return Response(_static("review.html"), media_type=_TYPES["html"])

    async def static(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in files:
            raise HTTPException(404)
        return Response(files[name], media_type=_TYPES[name.rsplit(".", 1)[-1]])

    async def queue(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(session.queue, request.query_params.get("reviewer", "")))

    async def exposure(request: Request) -> Response:
        reviewer = request.query_params.get("reviewer", "")
        return JSONResponse(await run_in_threadpool(session.exposure, request.path_params["exposure"], reviewer))

    async def preview(request: Request) -> Response:
        picture = await run_in_threadpool(session.preview, request.path_params["exposure"])
        if picture is None:
            raise HTTPException(404, "the preview cannot be read")
        return Response(picture, media_type="image/png")

    async def say(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(session.say, await _content(request)), status_code=201)

    async def undo(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(session.undo, await _content(request)), status_code=201)

    async def guarded(request: Request, endpoint: Endpoint) -> Response:
        """Answer those who may ask."""
        refused = _refusal(request, hosts, token)
        try:
            response = Response(refused, status_code=403) if refused else await endpoint(request)
        except CascadeError as error:
            response = JSONResponse({"error": str(error)}, status_code=_STATUSES.get(type(error), 500))
        except HTTPException as error:
            response = JSONResponse({"error": error.detail}, status_code=error.status_code)
        return response

    def route(path: str, endpoint: Endpoint, method: str) -> Route:
        async def answer(request: Request) -> Response:
            return await guarded(request, endpoint)

        return Route(path, answer, methods=[method])

    app = Starlette(
        routes=[
            route("/", page, "GET"),
            route("/static/{name}", static, "GET"),
            route("/api/queue", queue, "GET"),
            route("/api/exposures/{exposure:int}", exposure, "GET"),
            route("/api/previews/{exposure:int}.png", preview, "GET"),
            route("/api/verdicts", say, "POST"),
            route("/api/undo", undo, "POST"),
        ]
    )
    return _with_headers(app)


def _with_headers(app: ASGIApp) -> ASGIApp:
    """An application whose every answer, errors included, has headers that keep other sites from making use of it."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await app(scope, receive, send_with_headers)

    return answer


def _refusal(request: Request, hosts: frozenset[str] | None, token: str) -> str:
    """Why a request is refused; empty if it is not."""
    if hosts is not None and request.url.hostname not in hosts:
        return "this server is not called that"
    if not _brings(request, token) and (request.url.path != "/" or "token" in request.query_params):
        return _WITH_TOKEN
    if request.method == "POST":
        origin = request.headers.get("origin")
        if origin is not None and origin.split("://", 1)[-1] != request.headers.get("host"):
            return "verdicts come from this page alone"
        if request.headers.get("content-type", "").split(";")[0] != "application/json":
            return "verdicts are JSON"
    return ""


def _brings(request: Request, token: str) -> bool:
    """Whether a request has the token, in its cookie or, for the page itself, in its address."""
    brought = request.cookies.get(COOKIE, "")
    if request.url.path == "/":
        brought = request.query_params.get("token", brought)
    return compare_digest(brought.encode(), token.encode())


async def _content(request: Request) -> dict[str, Any]:
    """The JSON object that a request brings."""
    body = b""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise HTTPException(413, f"expected at most {MAX_BODY_BYTES} bytes")
    except TimeoutError as error:
        raise HTTPException(408, f"expected a whole request within {BODY_TIMEOUT_S:g} s") from error
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "expected JSON") from error
    if not isinstance(content, dict):
        raise HTTPException(400, "expected a JSON object")
    return content


def _static(name: str) -> str:
    """A file that is shipped beside this module."""
    return resources.files("cascade.pages.review").joinpath("static", name).read_text(encoding="utf-8")
