"""DS9 regions of artifacts, on the preview and on the sky."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.outlines import FloatArray, outlines
from cascade.export.ghosted import Patches, SkyHeaders, Written, ghosted_exposures
from cascade.runs.run import Run
from cascade.storage.atomic import written_aside


def write_regions(run: Run, out: Path, headers: SkyHeaders) -> Written:
    """
    Write ``NAME_preview.reg`` and, where the WCS is known, ``NAME_sky.reg`` (ICRS) for each exposure with artifacts.

    Regions on the preview are for the picture as DS9 shows it, whose rows count from the bottom.

    Parameters
    ----------
    run : Run
    out : Path
        Folder; must exist.
    headers : SkyHeaders

    Returns
    -------
    Written
    """
    from astropy.coordinates import SkyCoord
    from regions import PixCoord, PolygonPixelRegion, PolygonSkyRegion, Regions

    camera = Camera.load(run.config.camera)
    n_exposures = n_files = n_bytes = n_without = 0
    for exposure in ghosted_exposures(run):
        n_exposures += 1
        patches = headers.patches(exposure.row)
        n_without += not patches
        on_preview, on_sky = [], []
        for artifact in exposure.artifacts:
            look: dict[str, Any] = {"visual": {"color": Artifact.from_label(artifact["class"]).ds9}}
            look["meta"] = {"text": f"{artifact['class']} {artifact['score']:.2f}"}
            for corners in outlines(exposure.mask(artifact)):
                # astropy counts from the centre of the first pixel, and DS9 puts the last row of a picture at y = 1.
                pixels = PixCoord(x=corners[:, 1] - 0.5, y=camera.shape[0] - 0.5 - corners[:, 0])
                on_preview.append(PolygonPixelRegion(pixels, **look))
                if patches:
                    ra, dec = corners_on_sky(corners, camera, patches)
                    on_sky.append(PolygonSkyRegion(SkyCoord(ra, dec, unit="deg", frame="icrs"), **look))
        for ending, regions in (("preview", on_preview), ("sky", on_sky)):
            if regions:
                text = Regions(regions).serialize(format="ds9", precision=7)
                with written_aside(out / f"{exposure.name}_{ending}.reg") as aside:
                    aside.write_text(text, encoding="utf-8")
                    n_bytes += aside.stat().st_size
                n_files += 1
    return Written(n_exposures, n_files, n_bytes, {"without a WCS, in preview coordinates only": n_without})


def corners_on_sky(corners: FloatArray, camera: Camera, patches: Patches) -> tuple[FloatArray, FloatArray]:
    """
    Map positions on a preview to the sky.

    Parameters
    ----------
    corners : ndarray of float64, shape (n, 2)
        (row, column) on the preview.
    camera : Camera
    patches : mapping of int to SkyPatch
        WCS by ccdnum. In gaps, and on CCDs without one, that of the nearest CCD is extrapolated.

    Returns
    -------
    tuple of ndarray of float64, shape (n,)
        (ra, dec), degrees.
    """
    x_mm, y_mm = camera.to_mm(corners[:, 0], corners[:, 1])
    ccds = [ccd for ccd in camera.ccds if ccd.ccdnum in patches]
    height, width = (side * camera.pixel_mm for side in camera.ccd_shape)
    # Distance to the edge of a CCD, not to its centre: CCDs are longer than wide.
    away = [
        np.maximum(np.abs(x_mm - ccd.x_mm) - width / 2, 0) + np.maximum(np.abs(y_mm - ccd.y_mm) - height / 2, 0)
        for ccd in ccds
    ]
    nearest = np.argmin(away, axis=0)
    ra, dec = np.empty(len(corners)), np.empty(len(corners))
    for k in np.unique(nearest):
        on_it = nearest == k
        y, x = camera.preview_to_ccd_pixel(ccds[k], corners[on_it, 0], corners[on_it, 1])
        ra[on_it], dec[on_it] = patches[ccds[k].ccdnum].to_sky(y, x)
    return ra, dec
