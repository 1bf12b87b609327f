"""Views of a run: tables as data frames, lazy masks, plots of exposures, a summary."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from cascade.camera import Camera
from cascade.core.errors import ConfigError, InputError
from cascade.core.exposure import UInt8Array
from cascade.runs.coordinates import COORDINATES, POSITIONS, coordinate_values
from cascade.runs.files import has_coordinates, read_run_json
from cascade.runs.mask_store import MaskStore, open_masks, read_planes
from cascade.runs.previews import RunPreviews
from cascade.veto import VetoRule, veto_rows

if TYPE_CHECKING:
    import pandas
    import xarray
    from matplotlib.axes import Axes

    from cascade.runs.run import Run

_BARE_LEVEL = 60  # of CCDs where there is no preview


def frame(run: Run, name: str) -> pandas.DataFrame:
    """A table as a pandas data frame; see `Run.frame`."""
    table = run.table(name)
    try:
        import pandas
    except ImportError as error:
        msg = "frame: expected pandas: pip install 'ghost-cascade[notebook]'"
        raise ConfigError(msg) from error
    return table.to_pandas(types_mapper=pandas.ArrowDtype)


def dataset(run: Run, *, check: bool) -> xarray.Dataset:
    """The masks as an xarray dataset; see `Run.dataset`."""
    try:
        import xarray
    except ImportError as error:
        msg = "dataset: expected xarray: pip install 'ghost-cascade[notebook]'"
        raise ConfigError(msg) from error
    open_masks(run.storage, check=check)  # which says what is missing
    masks: Any = MaskStore(run.storage, check=check)  # any store of Zarr will do, which xarray's types do not say
    opened: xarray.Dataset = xarray.open_zarr(masks, consolidated=False, chunks=None)
    return opened if has_coordinates(read_run_json(run.storage)) else opened.assign_coords(_coordinates(run))


def _coordinates(run: Run) -> dict[str, Any]:
    """The coordinates of the masks of a run of an older format, which are not stored."""
    exposures = run.table("exposures")
    values: dict[str, Any] = {POSITIONS: np.arange(run.config.n_positions)}
    for name, known in coordinate_values(exposures).items():
        filled = np.full(run.config.n_positions, COORDINATES[name].fill)
        filled[exposures[POSITIONS].to_numpy()] = known
        values[name] = POSITIONS, filled
    return values


def mask(run: Run, expnum: int) -> UInt8Array:
    """The mask plane of an exposure; see `Run.mask`."""
    exposure = _row(run, expnum)["exposure"]
    planes = read_planes(run.storage, exposure, exposure + 1)
    return np.asarray(planes[0], np.uint8)


def plot(run: Run, expnum: int, ax: Axes | None, inputs: Sequence[str]) -> Axes:
    """Draw an exposure; see `Run.plot`."""
    from matplotlib import pyplot

    from cascade.runs.picture import Panel, draw_panel

    row = _row(run, expnum)
    camera = Camera.load(run.config.camera)
    vetoes = veto_rows(run.table("ccds"), run.table("exposures"), VetoRule(), camera).table.to_pylist()
    vetoed = [veto["ccdnum"] for veto in vetoes if veto["expnum"] == expnum]
    image = RunPreviews(run, inputs).read(row["exposure"])
    if image is None:
        image = np.where(camera.labels > 0, _BARE_LEVEL, 0).astype(np.uint8)
    score = "no score" if row["screen_score"] is None else f"score {row['screen_score']:.2f}"
    title = f"{expnum}  {score}  {len(vetoed)} CCDs"
    if ax is None:
        ax = pyplot.figure(figsize=(5, 5), layout="constrained").add_subplot()
    ax.set_axis_off()
    draw_panel(ax, Panel(title, image, run.mask(expnum), vetoed), camera)
    return ax


def html(run: Run) -> str:
    """HTML summary for notebooks; see `Run._repr_html_`."""
    summary = run.summary()
    counts = summary.counts
    models = [model.name for model in (run.config.screen, run.config.segment) if model is not None]
    rows: dict[str, Any] = {
        "run": run.path,
        "status": f"{summary.status}, {summary.n_done} of {summary.n_batches} batches",
        "exposures": f"{counts.n_exposures:,}: {counts.n_flagged:,} flagged, {counts.n_ghosted:,} ghosted, "
        f"{counts.n_failed:,} failed",
        "artifacts": f"{counts.n_artifacts:,}",
        "models": ", ".join(models) or "none",
        "camera": run.config.camera,
    }
    left = 'style="text-align:left"'
    cells = "".join(
        f"<tr><th {left}>{escape(name)}</th><td {left}>{escape(str(value))}</td></tr>" for name, value in rows.items()
    )
    return f"<table>{cells}</table>"


def _row(run: Run, expnum: int) -> dict[str, Any]:
    """The row of the exposures table."""
    table = run.table("exposures")
    rows = np.flatnonzero(table["expnum"].to_numpy(zero_copy_only=False) == expnum)
    if not len(rows):
        msg = f"{run.path}: expected the number of one of its exposures, got {expnum}"
        raise InputError(msg)
    row: dict[str, Any] = table.slice(int(rows[0]), 1).to_pylist()[0]
    return row
