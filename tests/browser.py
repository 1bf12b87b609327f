"""A real browser for tests and benchmarks of pages: Debian's or Google's Chromium, without a window."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_NAMES = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_MS = 120_000  # machines that run tests are busy


def find_chromium() -> str | None:
    """Path of a Chromium: `$CASCADE_CHROMIUM`, or one on the PATH; None if there is none, or no Playwright."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        return None
    return os.environ.get("CASCADE_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)


@contextmanager
def chromium(path: str) -> Iterator[Browser]:
    """Start it, and end it."""
    from playwright.sync_api import sync_playwright

    # Containers have no sandbox for root, and a small /dev/shm.
    arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments, timeout=TIMEOUT_MS)
        try:
            yield browser
        finally:
            browser.close()
