"""Marks on what cascade makes of exposures, so that its pictures and masks are never taken for exposures."""

from __future__ import annotations

from pathlib import Path

MADE = ".cascade-made"
"""File in a folder of pictures or masks that cascade made; inputs leave that folder out."""

DISPLAY_NOTE = "drawn by ghost-cascade for display"
"""Comment in previews that were stretched for the eye: as inputs they would give other scores."""


def mark_made(folder: Path) -> None:
    """Mark a folder, which must hold nothing of others."""
    (folder / MADE).write_text("Made of exposures by cascade, whose inputs leave this folder out.\n", encoding="utf-8")
