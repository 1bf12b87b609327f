"""Attributes of log records for the handlers that show them."""

from __future__ import annotations

from collections.abc import Mapping

REPORTED_ELSEWHERE: Mapping[str, bool] = {"reported_elsewhere": True}
"""
The ``extra`` of a record about one exposure whose error is reported elsewhere, such as in the failures table.

The terminal omits such records; all other warnings of this package are shown, whichever module they come from.
"""
