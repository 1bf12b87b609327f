"""
Write ``lsstcam.toml``: ``python -m cascade.camera.build_lsstcam``.

The 189 science CCDs of LSSTCam lie on one square lattice: 21 rafts of 3x3 CCDs, a 5x5 grid without its corners. The
numbers are public (the policy files of the repository lsst/obs_lsst): the pitch of rafts is 127 mm, of CCDs 42.25 mm;
pixels are 0.01 mm; ITL CCDs have 4072x4000 pixels, e2v CCDs 4096x4004. In raft ``Rij`` and slot ``Sij`` the first
digit counts along y, the second along x; the observatory's detector numbers follow that order.
"""

from __future__ import annotations

from pathlib import Path

from cascade.core.exposure import PREVIEW_SHAPE

RAFT_PITCH_MM = 127.0
CCD_PITCH_MM = 42.25
_RAFTS, _SLOTS = 5, 3
_CORNERS = {"R00", "R04", "R40", "R44"}  # guide and wavefront sensors
_CELL_PX = 26.6  # 15 cells per side fill the preview except its outermost half pixel
_INSET_PX = 0.65  # (42.25 - 40.2 mm) / 2 at 0.63 px/mm


def layout() -> str:
    """Content of the layout file."""
    middle = (_RAFTS - 1) / 2
    rows: list[str] = []
    for j, i in ((j, i) for j in range(_RAFTS) for i in range(_RAFTS)):
        raft = f"R{j}{i}"
        if raft in _CORNERS:
            continue
        for n, m in ((n, m) for n in range(_SLOTS) for m in range(_SLOTS)):
            x_mm = (i - middle) * RAFT_PITCH_MM + (m - 1) * CCD_PITCH_MM
            y_mm = (j - middle) * RAFT_PITCH_MM + (n - 1) * CCD_PITCH_MM
            rows.append(f'    [{len(rows) + 1}, "{raft}_S{n}{m}", {x_mm}, {y_mm}],')
    height, width = PREVIEW_SHAPE
    return "\n".join(
        [
            "# LSSTCam: 189 science CCDs. Written by cascade/camera/build_lsstcam.py, which gives the sources.",
            "# ccdnum is the observatory's detector number plus one; detpos is raft and slot.",
            'name = "lsstcam"',
            'instrument = "LSSTCam"',
            "",
            "# Cerro Pachon: Rubin's day_obs changes at noon UTC (Rubin technical note SITCOMTN-032).",
            "observatory = { night_rollover_utc_h = 12.0 }",
            "",
            "# ccdnum, detpos, x_mm, y_mm",
            "ccds = [",
            *rows,
            "]",
            "",
            "[preview]",
            f"shape = [{height}, {width}]",
            f"centre = [{height / 2}, {width / 2}]",
            f"cell = [{_CELL_PX}, {_CELL_PX}]",
            f"inset = [{_INSET_PX}, {_INSET_PX}]",
            "",
            "[ccd]",
            f"pitch_mm = [{CCD_PITCH_MM}, {CCD_PITCH_MM}]",
            "shape = [4000, 4072] # ITL; those of e2v are under 1 % larger",
            "pixel_mm = 0.01",
            "",
        ]
    )


if __name__ == "__main__":
    Path(__file__).with_name("lsstcam.toml").write_text(layout(), encoding="utf-8")
