"""The server of the review page."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

from cascade.core.errors import ConfigError
from cascade.pages.review.session import ReviewSession
from cascade.pages.review.token import review_token

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_ANY_ADDRESS = ("0.0.0.0", "::")
_SHUTDOWN_S = 3  # for answers under way when the server is interrupted


def serve(session: ReviewSession, *, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """
    Serve the review page until the process is interrupted.

    Parameters
    ----------
    session : ReviewSession
    host : str
        Address to listen at. Browsers need the token at any: other accounts of this machine can connect, too.
    port : int
        0 takes any that is free.
    on_ready : callable
        Told the address for the browser, with the token.

    Raises
    ------
    ConfigError
        If starlette and uvicorn are not installed, or the address cannot be had.
    """
    try:
        import uvicorn

        from cascade.pages.review.app import review_app
        from cascade.pages.review.connections import LimitedProtocol
    except ImportError as error:
        msg = f"expected starlette and uvicorn for the review page: pip install 'ghost-cascade[review]' ({error})"
        raise ConfigError(msg) from error
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        msg = f"{host}:{port}: expected an address that is free, got {error}; choose another --port"
        raise ConfigError(msg) from error
    token = review_token()
    app = review_app(session, hosts=_LOCAL_NAMES | {host} if is_local(host) else None, token=token)
    name = socket.gethostname() if host in _ANY_ADDRESS else host
    shown = f"[{name}]" if ":" in name else name
    on_ready(f"http://{shown}:{listener.getsockname()[1]}/?token={token}")
    options = {"log_level": "warning", "access_log": False, "server_header": False, "proxy_headers": False}
    limits = {"http": LimitedProtocol, "backlog": 128, "timeout_graceful_shutdown": _SHUTDOWN_S}
    config = uvicorn.Config(app, lifespan="off", ws="none", **limits, **options)  # type: ignore[arg-type]
    with listener:
        uvicorn.Server(config).run(sockets=[listener])


def is_local(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
