"""Veto lists in the formats of surveys; each says the rule that made it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

import numpy as np
from pyarrow import csv, parquet

from cascade.camera import night_of
from cascade.core.errors import ConfigError
from cascade.storage import local_path
from cascade.storage.atomic import written_aside
from cascade.veto.rules import ANALYST, VetoList

DES_HEADER = "#date expnum ccd id ccdnum"

HAND = "hand"
"""Analyst of entries that people added to a list that names nobody."""

LEGACY_MARK = f"{ANALYST}:"
"""How the reasons begin that we give in a list of bad exposures."""

_DES_HINT = "# add CCDs by hand with nan as their ccd and id: such lines stay when cascade writes this list anew"
_TEXT_WIDTH = 30  # of REASON and ANALYST in the compiled table of DES


def write_veto(vetoes: VetoList, path: Path | str, format: str) -> None:
    """
    Write a veto list; an interrupted write leaves the old file or none.

    Parameters
    ----------
    vetoes : VetoList
        What to write.
    path : Path or str
        Where to.
    format : str
        ``csv``, with the rule in a comment line; ``parquet``, with the rule in its metadata; ``des``, the exclude list
        of DES and DELVE; ``fits``, the compiled table of DES (EXPNUM, CCDNUM, REASON, ANALYST); ``legacy``, exposures
        and reasons like the Legacy Surveys' ``bad_expid``.

    Raises
    ------
    ConfigError
        If the format is unknown, or needs a package that is not installed; or if the path is a URL.
    """
    if format not in FORMATS:
        msg = f"veto format: expected one of {', '.join(FORMATS)}, got {format!r}"
        raise ConfigError(msg)
    with written_aside(local_path(path)) as aside:
        FORMATS[format](vetoes, aside)


def _write_csv(vetoes: VetoList, path: Path) -> None:
    """Write comma-separated values; unknown values are empty."""
    with path.open("wb") as file:
        file.write(f"# cascade veto {vetoes.rule}\n".encode())
        # Arrow would quote the names of the columns.
        file.write(",".join(vetoes.table.column_names).encode() + b"\n")
        csv.write_csv(vetoes.table, file, csv.WriteOptions(include_header=False, quoting_style="needed"))


def _write_parquet(vetoes: VetoList, path: Path) -> None:
    """Write Parquet with the rule as metadata of the schema."""
    parquet.write_table(vetoes.table.replace_schema_metadata({"rule": str(vetoes.rule)}), path)


def _write_des(vetoes: VetoList, path: Path) -> None:
    """Write an exclude list; ``ccd``, an index of the ray tracer that made the first lists, is unknown to us."""
    with path.open("w", encoding="utf-8") as file:
        file.write(f"{DES_HEADER}\n# cascade veto {vetoes.rule}\n{_DES_HINT}\n")
        for row in vetoes.table.to_pylist():
            night = night_of(row["mjd_obs"], vetoes.camera)
            day = "nan" if night is None else f"{night:%Y%m%d}"
            # The lists mark what people added by leaving out the name of the CCD; so is kept what others listed, too.
            detpos = row["detpos"] if row["analyst"] == ANALYST else "nan"
            file.write(f"{day} {row['expnum']} nan {detpos} {row['ccdnum']}\n")


def _write_fits(vetoes: VetoList, path: Path) -> None:
    """Write the compiled table of DES."""
    if find_spec("astropy") is None:
        msg = "veto format fits: expected the package astropy: pip install 'ghost-cascade[fits]'"
        raise ConfigError(msg)
    from astropy.io import fits

    table = vetoes.table
    largest = np.iinfo(np.int32).max
    if any(expnum > largest for expnum in table["expnum"].to_pylist()):
        msg = f"veto format fits: expected exposure numbers of at most {largest}, which is what its columns hold"
        raise ConfigError(msg)
    text = {
        name: np.array([value.encode("ascii", "replace")[:_TEXT_WIDTH] for value in table[name].to_pylist()], "S30")
        for name in ("reason", "analyst")
    }
    columns = [
        fits.Column("EXPNUM", "J", array=np.array(table["expnum"].to_pylist(), np.int32)),
        fits.Column("CCDNUM", "I", array=np.array(table["ccdnum"].to_pylist(), np.int16)),
        fits.Column("REASON", f"{_TEXT_WIDTH}A", array=text["reason"]),
        fits.Column("ANALYST", f"{_TEXT_WIDTH}A", array=text["analyst"]),
    ]
    hdu = fits.BinTableHDU.from_columns(columns)
    hdu.header["COMMENT"] = f"cascade veto {vetoes.rule}"
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path, checksum=True)


def _write_legacy(vetoes: VetoList, path: Path) -> None:
    """Write one line an exposure, with the reason and the CCDs."""
    with path.open("w", encoding="utf-8") as file:
        file.write(f"# expnum reason\n# cascade veto {vetoes.rule}\n")
        file.writelines(f"{line}\n" for line in _legacy_lines(vetoes))


def _legacy_lines(vetoes: VetoList) -> Iterator[str]:
    """Lines of exposures; what people wrote stands as they wrote it."""
    for expnum, rows in groupby(vetoes.table.to_pylist(), key=lambda row: row["expnum"]):
        ours: list[str] = []
        by_hand: dict[str, None] = {}
        for row in rows:
            if row["analyst"] == ANALYST:
                ours.append(row["detpos"])
            else:
                by_hand[row["reason"]] = None
        yield from (f"{expnum} {reason}" for reason in by_hand)
        if ours:
            yield f"{expnum} {LEGACY_MARK} ghost/scatter on {len(ours)} CCDs: {' '.join(ours)}"


FORMATS: Mapping[str, Callable[[VetoList, Path], None]] = {
    "csv": _write_csv,
    "parquet": _write_parquet,
    "des": _write_des,
    "fits": _write_fits,
    "legacy": _write_legacy,
}
"""What writes each format."""
