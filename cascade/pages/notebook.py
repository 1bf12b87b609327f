"""A run in a notebook: tables as data frames, masks read as they are needed, pictures of exposures."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cascade.camera import Camera
from cascade.core.errors import ConfigError, InputError
from cascade.core.exposure import UInt8Array
from cascade.runs.masks import FOLDER, read_planes
from cascade.runs.previews import RunPreviews
from cascade.runs.run import Run
from cascade.runs.run import open_run as open_stored_run
from cascade.storage.places import Storage
from cascade.veto import VetoRule, veto_rows

if TYPE_CHECKING:
    import pandas
    import xarray
    from matplotlib.axes import Axes

_BARE_LEVEL = 60  # of CCDs where there is no preview


class NotebookRun(Run):
    """A run directory as `open_run` gives it: a `cascade.Run` that shows itself."""

    __slots__ = ()

    def frame(self, name: str) -> pandas.DataFrame:
        """
        Read a table as a pandas data frame; `Run.table` gives it as a pyarrow table.

        Parameters
        ----------
        name : str
            ``exposures``, ``artifacts``, ``ccds`` or ``failures``.

        Raises
        ------
        StoreError
            If there is no such table, or it is damaged.
        ConfigError
            If pandas is not installed.
        """
        table = self.table(name)
        try:
            import pandas
        except ImportError as error:
            msg = "frame: expected pandas: pip install 'ghost-cascade[notebook]'"
            raise ConfigError(msg) from error
        return table.to_pandas(types_mapper=pandas.ArrowDtype)

    def dataset(self) -> xarray.Dataset:
        """
        Give the masks as an xarray dataset, whose variable ``mask`` (exposure, y, x) is read as it is indexed.

        `Run.masks` is the same as a Zarr array.

        Raises
        ------
        ConfigError
            If xarray is not installed.
        """
        try:
            import xarray
        except ImportError as error:
            msg = "dataset: expected xarray: pip install 'ghost-cascade[notebook]'"
            raise ConfigError(msg) from error
        masks: Any = self.storage.zarr(FOLDER)  # any store of Zarr will do, which xarray's types do not say
        dataset: xarray.Dataset = xarray.open_zarr(masks, consolidated=False, chunks=None)
        return dataset

    def mask(self, expnum: int) -> UInt8Array:
        """
        Read the (400, 400) uint8 mask plane of `Artifact.bit` flags of an exposure.

        Raises
        ------
        InputError
            If the run has no such exposure; of several, the first counts.
        """
        exposure = self._row(expnum)["exposure"]
        planes = read_planes(self.storage, exposure, exposure + 1)
        return np.asarray(planes[0], np.uint8)

    def plot(self, expnum: int, *, ax: Axes | None = None) -> Axes:
        """
        Draw an exposure: its preview, if the inputs are where they were, the masks by class and the vetoed CCDs.

        Parameters
        ----------
        expnum : int
            Exposure number; of several exposures, the first counts.
        ax : matplotlib Axes or None
            Where to draw; None: in a new figure.

        Returns
        -------
        Axes

        Raises
        ------
        InputError
            If the run has no such exposure.
        """
        from matplotlib import pyplot

        from cascade.pages.report.overview import Panel, draw_panel

        row = self._row(expnum)
        camera = Camera.load(self.config.camera)
        vetoes = veto_rows(self.table("ccds"), self.table("exposures"), VetoRule(), camera).table.to_pylist()
        vetoed = [veto["ccdnum"] for veto in vetoes if veto["expnum"] == expnum]
        image = RunPreviews(self).read(row["exposure"])
        if image is None:
            image = np.where(camera.labels > 0, _BARE_LEVEL, 0).astype(np.uint8)
        score = "no score" if row["screen_score"] is None else f"score {row['screen_score']:.2f}"
        title = f"{expnum}  {score}  {len(vetoed)} CCDs"
        if ax is None:
            ax = pyplot.figure(figsize=(5, 5), layout="constrained").add_subplot()
        ax.set_axis_off()
        draw_panel(ax, Panel(title, image, self.mask(expnum), vetoed), camera)
        return ax

    def _repr_html_(self) -> str:
        """Say what it is, as notebooks show it."""
        summary = self.summary()
        counts = summary.counts
        models = [model.name for model in (self.config.screen, self.config.segment) if model is not None]
        rows: dict[str, Any] = {
            "run": self.path,
            "status": f"{summary.status}, {summary.n_done} of {summary.n_batches} batches",
            "exposures": f"{counts.n_exposures:,}: {counts.n_flagged:,} flagged, {counts.n_ghosted:,} ghosted, "
            f"{counts.n_failed:,} failed",
            "artifacts": f"{counts.n_artifacts:,}",
            "models": ", ".join(models) or "none",
            "camera": self.config.camera,
        }
        left = 'style="text-align:left"'
        cells = "".join(
            f"<tr><th {left}>{escape(name)}</th><td {left}>{escape(str(value))}</td></tr>"
            for name, value in rows.items()
        )
        return f"<table>{cells}</table>"

    def _row(self, expnum: int) -> dict[str, Any]:
        """The row of the exposures table."""
        table = self.table("exposures")
        rows = np.flatnonzero(table["expnum"].to_numpy(zero_copy_only=False) == expnum)
        if not len(rows):
            msg = f"{self.path}: expected the number of one of its exposures, got {expnum}"
            raise InputError(msg)
        row: dict[str, Any] = table.slice(int(rows[0]), 1).to_pylist()[0]
        return row


def open_run(place: Storage | Path | str) -> NotebookRun:
    """
    Open a run to read it; it may still be running.

    Parameters
    ----------
    place : Storage, Path or str
        The run directory, or its URL.

    Raises
    ------
    StoreError
        If it is not a run, or its ``run.json`` is damaged.
    """
    run = open_stored_run(place)
    return NotebookRun(run.storage, run.config)
