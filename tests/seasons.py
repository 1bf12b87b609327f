"""A small synthetic season, as `cascade simulate` writes it, for tests of training."""

from __future__ import annotations

import json
from pathlib import Path

from cascade.simulate import Season
from cascade.simulate.dataset import write_season
from cascade.training.config import SeasonConfig

CONFIG = SeasonConfig(n_exposures=8, ghosted_share=0.5, seed=3)
"""Every other exposure holds artifacts; the last four are held out."""


def simulated(folder: Path) -> Path:
    """Write that season."""
    write_season(Season(CONFIG.n_exposures, CONFIG.ghosted_share, CONFIG.seed), folder)
    return folder


def edit_mark(folder: Path, **changes: object) -> None:
    """Change what a season says of itself."""
    mark = folder / "season.json"
    mark.write_text(json.dumps({**json.loads(mark.read_text()), **changes}))
