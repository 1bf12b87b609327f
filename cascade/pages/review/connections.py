"""Limits on the connections of the review server, so that nobody can hold them all."""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

MAX_CONNECTIONS = 128
"""A browser opens up to six; the one more takes the place of that which has waited longest for a request."""

_REQUEST_S = 10.0  # for the head of a request, from when the connection or the answer before it was there
_ANSWER_S = 120.0  # for a request and its answer, over the slowest of connections


class LimitedProtocol(H11Protocol):
    """HTTP of uvicorn, which by itself waits for the head of a request without end."""

    _since: float
    _timer: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request; where there are too many that do, the oldest ends."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._timer = self.loop.call_later(_REQUEST_S, self._check)
        others = [other for other in self.connections if other is not self and isinstance(other, LimitedProtocol)]
        others = [other for other in others if not other.transport.is_closing()]
        if len(others) >= MAX_CONNECTIONS:
            waiting = [other for other in others if other.is_waiting()]
            min(waiting, key=lambda other: other._since, default=self).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self._since = self.loop.time()
        super().on_response_complete()

    def is_waiting(self) -> bool:
        """Whether no request is being answered."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # uvicorn's own type leaves out the None
        return cycle is None or cycle.response_complete

    def _check(self) -> None:
        """End a connection that has taken too long; look again later at one that has not."""
        left = self._since + (_REQUEST_S if self.is_waiting() else _ANSWER_S) - self.loop.time()
        if left <= 0:
            self.transport.abort()
        else:
            self._timer = self.loop.call_later(min(left, _REQUEST_S), self._check)
