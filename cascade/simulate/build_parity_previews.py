"""
Simulate the previews of the parity check of engines: ``python -m cascade.simulate.build_parity_previews``.

They are shipped, so that loading a model does not need the simulator.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.data_files import write_npz
from cascade.simulate import simulate_exposure

_SHIPPED = Path(__file__).parents[1] / "networks" / "engines" / "parity_previews.npz"
_SEED = 20211
_DRAWN = ((Artifact.BRIGHT,), (Artifact.FAINT,), (Artifact.RAYS,), (Artifact.BRIGHT,), (Artifact.RAYS,), ())


def build(out: Path) -> None:
    """Simulate and write the previews."""
    rng, camera = np.random.default_rng(_SEED), Camera.decam()
    previews = np.array([simulate_exposure(kinds, camera, rng) for kinds in _DRAWN])
    drawn = ["+".join(kind.label for kind in kinds) or "clean" for kinds in _DRAWN]
    write_npz(out, {"previews": previews}, {"content": "simulated previews", "drawn": drawn, "seed": _SEED})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=_SHIPPED)
    build(parser.parse_args().out)
