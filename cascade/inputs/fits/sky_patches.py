"""The WCS of every CCD of an exposure, kept as text, so that exports need no FITS file."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cascade.core.errors import InputError
from cascade.inputs.fits.ccds import CcdImage

FloatArray = npt.NDArray[np.float64]

_WCS_KEY = re.compile(
    r"WCSAXES|CTYPE\d|CUNIT\d|CRVAL\d|CRPIX\d|CDELT\d|CD\d_\d|PC\d_\d|PV\d_\d+|[AB]P?_(ORDER|\d+_\d+)|LONPOLE|LATPOLE"
    r"|EQUINOX|RADESYS",
    re.ASCII,
)

PATCHES = pa.list_(
    pa.struct(
        [
            ("ccdnum", pa.int16()),
            ("y", pa.float32()),
            ("x", pa.float32()),
            ("cards", pa.string()),
        ]
    )
)
"""Arrow type of the patches of one exposure."""


@dataclass(frozen=True, slots=True)
class SkyPatch:
    """
    Where a CCD lies on the sky.

    Attributes
    ----------
    ccdnum
        Which CCD.
    y, x
        Position on the whole CCD, in pixels, of the first pixel of the image that the WCS belongs to.
    cards
        The cards of its WCS, a line each.
    """

    ccdnum: int
    y: float
    x: float
    cards: str

    def to_sky(self, y: npt.ArrayLike, x: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """
        Map positions on the CCD to the sky.

        Parameters
        ----------
        y, x : array-like
            Pixels along FITS axis 2 and 1 of the whole CCD, continuous, from the outer corner of its first pixel.

        Returns
        -------
        tuple of ndarray
            (ra, dec) in degrees.

        Raises
        ------
        InputError
            If the cards are no celestial WCS.
        """
        # astropy counts from the centre of the first pixel of the image.
        column = np.asarray(x, float) - self.x - 0.5
        row = np.asarray(y, float) - self.y - 0.5
        ra, dec = self._wcs().all_pix2world(column, row, 0)
        return ra, dec

    def _wcs(self) -> Any:  # noqa: ANN401
        """The WCS, parsed."""
        from astropy.io import fits
        from astropy.wcs import WCS

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                wcs = WCS(fits.Header.fromstring(self.cards, sep="\n"))
        except Exception as error:  # astropy raises nearly anything on hostile headers
            msg = f"CCD {self.ccdnum}: cannot read its WCS: {error}"
            raise InputError(msg) from error
        if wcs.naxis != 2 or not wcs.has_celestial:
            msg = f"CCD {self.ccdnum}: expected a celestial WCS of two axes in its header, got none"
            raise InputError(msg)
        return wcs


def sky_patch(image: CcdImage) -> SkyPatch | None:
    """The WCS of a CCD; None if its header has none."""
    header = image.hdu.header
    if "CTYPE1" not in header or "CRVAL1" not in header:
        return None
    cards = header.lines(_WCS_KEY)
    y0, _, x0, _ = image.trim
    return SkyPatch(image.ccd.ccdnum, image.origin[0] - y0, image.origin[1] - x0, "\n".join(cards))
