"""What log records say of themselves to whoever shows them."""

from __future__ import annotations

from collections.abc import Mapping

REPORTED_ELSEWHERE: Mapping[str, bool] = {"reported_elsewhere": True}
"""
The ``extra`` of a record about one exposure whose error is reported elsewhere, such as in the failures table.

The terminal leaves such records out; all other warnings of this package are shown, whichever module they come from.
"""
