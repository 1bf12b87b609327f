"""One picture of a run: previews with coloured masks and the outlines of the CCDs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.runs.picture import VETO_COLOUR, Panel, draw_panel

_COLUMNS = 4
_PANEL_INCHES = 3.0


def draw_overview(panels: Sequence[Panel], camera: Camera, path: Path, *, title: str) -> None:
    """
    Draw exposures side by side into a PNG.

    Parameters
    ----------
    panels : sequence of Panel
        In the order of the picture; if empty, the picture says so.
    camera : Camera
        On the preview's grid.
    path : Path
        The PNG to write.
    title : str
        Line above all.
    """
    n_rows = max(1, -(-len(panels) // _COLUMNS))
    figure = Figure(
        figsize=(_COLUMNS * _PANEL_INCHES, n_rows * (_PANEL_INCHES + 0.2) + 0.6), dpi=130, layout="constrained"
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(n_rows, _COLUMNS, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, panel in zip(axes, panels, strict=False):
        draw_panel(axis, panel, camera)
    if not panels:
        axes[0].text(0, 0.5, "No exposure was flagged.", fontsize=12)
    figure.suptitle(title, fontsize=11)
    legend = [Patch(color=artifact.colour, label=artifact.label) for artifact in Artifact]
    legend.append(Patch(facecolor="none", edgecolor=VETO_COLOUR, label="vetoed CCD"))
    figure.legend(handles=legend, loc="outside lower center", ncols=len(legend), fontsize=9, frameon=False)
    figure.savefig(path)
