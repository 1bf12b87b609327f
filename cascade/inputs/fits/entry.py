"""What a store of previews keeps of an exposure; apart from the store, so that making previews needs no Zarr."""

from __future__ import annotations

from dataclasses import dataclass

from cascade.core.exposure import Source, UInt8Array
from cascade.inputs.fits.sky_patches import SkyPatch


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """
    One preview to keep.

    Attributes
    ----------
    source
        Where it comes from, with the fields of its headers.
    image
        (400, 400) uint8.
    noise, n_ccds, remarks
        See `cascade.inputs.fits.render.Preview`.
    patches
        The WCS of its CCDs.
    """

    source: Source
    image: UInt8Array
    noise: float
    n_ccds: int
    remarks: tuple[str, ...]
    patches: tuple[SkyPatch, ...]
