"""
Images that are unpacked by a process of their own.

HCOMPRESS is unpacked by C code that reads beyond its input where a stream is damaged. What that may do to a process
must not end a season, nor each attempt to resume it; it costs a process a CCD, which is why others are not read so.
"""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cascade.core.errors import input_error
from cascade.core.processes import exit_reason
from cascade.inputs.fits.structure import Hdu, checked_hdu

_LIMIT_S = 120.0  # a DECam CCD takes half a second
_UNPACK = """
import io, sys, warnings
import numpy
from astropy.io import fits
warnings.simplefilter("ignore")
with fits.open(io.BytesIO(sys.stdin.buffer.read()), memmap=False) as hdus:
    numpy.save(sys.stdout.buffer, hdus[1].data)
"""


def is_risky(hdu: Hdu) -> bool:
    """Whether unpacking an image may end the process."""
    return hdu.is_compressed and str(hdu.header.get("ZCMPTYPE", "")).strip().startswith("HCOMPRESS")


def read_isolated(file: Path, hdu: Hdu, name: str) -> npt.NDArray[Any]:
    """
    Read the image of a compressed HDU in another process.

    Raises
    ------
    InputError
        If the HDU is damaged, or the process dies of it or takes more than two minutes.
    """
    content = checked_hdu(file, hdu, name)
    try:
        # -P: a module in the current folder must not be taken for one of ours.
        done = subprocess.run(
            [sys.executable, "-P", "-c", _UNPACK], input=content, capture_output=True, timeout=_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise input_error(name, f"{hdu.name}: expected to unpack it within {_LIMIT_S:g} s, got no image") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"status {done.returncode}"]
        if done.returncode < 0:
            said = [f"the process that unpacked it {exit_reason(done.returncode)}"]
        raise input_error(name, f"{hdu.name}: cannot read its pixels: {said[-1]}")
    values: npt.NDArray[Any] = np.load(io.BytesIO(done.stdout), allow_pickle=False)
    return values
