"""What is damaged: good files of every kind that is read, and what a reader makes of them."""

from __future__ import annotations

import hashlib
import json
import math
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import zarr
from astropy.io import fits
from fuzz_runs import RUN_TARGETS, WrongAnswerError, refusable
from PIL import Image
from pyarrow import csv, parquet

from cascade.camera import Camera
from cascade.core.errors import printable
from cascade.core.via import read_annotations
from cascade.evaluate.truth import read_stack_labels
from cascade.inputs import Reader, open_inputs
from cascade.inputs.fits.reader import open_fits
from cascade.inputs.preview_night import preview_night
from cascade.simulate import Season
from cascade.simulate.dataset import write_season
from cascade.training.config import SeasonConfig
from cascade.training.sources import SyntheticSeason
from cascade.veto import FORMATS, VETO, VetoList, VetoRule, merge_lists, open_list, write_veto

Answer = Mapping[str, str]

DECAM = Camera.decam()
N = 3


@dataclass(frozen=True)
class Target:
    """
    Files of a kind.

    Attributes
    ----------
    make
        Writes good ones into a folder.
    answer
        What a reader makes of the folder, part by part; a part that was refused begins with ``refused``.
    exact
        Parts that must be as they were or be refused, since hashes or checksums tell: beginnings of their names.
    victims
        Patterns of the files to damage.
    share
        Of the cases, relative to other targets.
    """

    make: Callable[[Path], None]
    answer: Callable[[Path], Answer]
    exact: Sequence[str] = ()
    victims: Sequence[str] = ("**/*",)
    share: float = 1.0

    def files(self, folder: Path) -> list[Path]:
        """The files to damage, in a fixed order."""
        found = {path for pattern in self.victims for path in folder.glob(pattern) if path.is_file()}
        return sorted(path for path in found if not path.name.startswith("."))


def preview(number: int) -> np.ndarray:
    """A sky that differs from image to image."""
    noise = np.random.default_rng(number).normal(60 + 10 * number, 8, (400, 400))
    return (np.clip(noise, 1, 255) * (DECAM.labels > 0)).astype(np.uint8)


def read_all(reader: Reader, folder: Path) -> Answer:
    """What a reader lists and gives, checked for what nothing may be."""
    answer = {"length": str(len(reader))}
    for k in range(min(len(reader), 50)):
        source = reader.source(k)
        _check_source(source, str(folder))
        answer[f"source {k}"] = repr((source.path.replace(str(folder), ""), source.expnum, astuple(source.header)))

        def image(k: int = k) -> str:
            exposure = reader.read(k)
            got = exposure.image
            if got.shape != (400, 400) or got.dtype != np.uint8 or not got.flags.c_contiguous:
                message = f"image of {got.shape} {got.dtype}"
                raise WrongAnswerError(message)
            _check_source(exposure.source, str(folder))
            return hashlib.sha256(got.tobytes()).hexdigest()

        answer[f"image {k}"] = refusable(image)
    return answer


def _check_source(source, folder: str) -> None:
    """Refuse names and numbers that no table may hold."""
    numbers = [value for value in astuple(source.header) if isinstance(value, float)]
    if printable(source.path) != source.path or not all(map(math.isfinite, numbers)):
        message = f"source {source!r}"
        raise WrongAnswerError(message)
    if source.expnum is not None and not 0 < source.expnum < 2**63:
        message = f"expnum {source.expnum!r}"
        raise WrongAnswerError(message)


def _inputs(name: str) -> Callable[[Path], Answer]:
    return lambda folder: read_all(open_inputs([folder / name]), folder)


def _images(folder: Path, format_: str, ending: str, **options) -> None:
    for k in range(N):
        Image.fromarray(preview(k)).save(folder / f"D{700001 + k:08d}.{ending}", format_, **options)


def _zip(folder: Path) -> None:
    _images(folder, "JPEG", "jpg")
    with zipfile.ZipFile(folder / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.glob("*.jpg")):
            archive.write(path, path.name)
            path.unlink()


def _npy(folder: Path) -> None:
    np.save(folder / "x_set.npy", np.stack([preview(k) for k in range(N)]))
    kinds = [("expnum", "U10"), ("band", "U1"), ("mjd", "f8")]
    np.save(folder / "z_set.npy", np.array([(f"D{700001 + k:08d}", "g", 56000.5) for k in range(N)], kinds))
    np.save(folder / "y_set.npy", np.array([0, 1, 0]))


def _npy_answer(folder: Path) -> Answer:
    labels = refusable(lambda: repr(read_stack_labels(folder / "y_set.npy").tolist()))
    return {"labels": labels, **_inputs("x_set.npy")(folder)}


def _fits(compression: str | None) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for k in range(2):
            primary = fits.Header({"INSTRUME": "DECam", "OBSTYPE": "object", "EXPNUM": 700001 + k, "PRODTYPE": "image"})
            primary.update({"FILTER": "g DECam SDSS c0001 4720.0 1520.0", "MJD-OBS": 56600.2, "EXPTIME": 90.0})
            hdus: list[object] = [fits.PrimaryHDU(header=primary)]
            for name, ccdnum in (("S4", 28), ("N4", 35)):
                cards = {"EXTNAME": name, "CCDNUM": ccdnum, "DETPOS": name, "CRPIX1": 50.7, "CRPIX2": 47.5}
                sky = np.random.default_rng(ccdnum).normal(200, 5, (300, 300)).astype("f4")
                whole = np.int16(sky) if compression == "PLIO_1" else sky
                kind = fits.ImageHDU if compression is None else fits.CompImageHDU
                options = {} if compression is None else {"compression_type": compression}
                hdus.append(kind(whole, fits.Header(cards), **options))
            name = f"c4d_{k}.fits" if compression is None else f"c4d_{k}.fits.fz"
            fits.HDUList(hdus).writeto(folder / name)

    return make


def _fits_answer(folder: Path) -> Answer:
    names = sorted(map(str, folder.glob("*.fits*")))
    return read_all(open_fits(names, camera="decam", cutouts=True), folder)


def _store(folder: Path) -> None:
    nights = folder / "night"
    nights.mkdir()
    _fits(None)(nights)
    preview_night([nights], folder / "store.zarr", cutouts=True)
    for path in nights.iterdir():
        path.unlink()
    nights.rmdir()


def _plain_zarr(folder: Path) -> None:
    group = zarr.open_group(folder / "set.zarr", mode="w", zarr_format=2)
    group.create_array("preview", data=np.stack([preview(k) for k in range(N)]), chunks=(1, 400, 400))
    group.create_array("expnum", data=np.arange(700001, 700001 + N))
    group.create_array("mjd_obs", data=np.full(N, 56600.2))


def _manifest(ending: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        _images(folder, "PNG", "png")
        names = sorted(path.name for path in folder.glob("*.png"))
        columns = {"expnum": range(700001, 700001 + N), "path": names, "band": ["g", "r", "Y"]}
        numbers = {"mjd_obs": 56600.2, "ra": 10.0, "dec": -45.0, "exptime": 90.0}
        table = pa.table(columns | {name: [value] * N for name, value in numbers.items()})
        if ending == "csv":
            csv.write_csv(table, folder / "m.csv")
        else:
            parquet.write_table(table, folder / "m.parquet")

    return make


def _via(folder: Path) -> None:
    shape = {"name": "polygon", "all_points_x": [10, 50, 50.5, 10], "all_points_y": [10, 10, 40, 40]}
    region = {"shape_attributes": shape, "region_attributes": {"Type": "Bright"}}
    ring = {"shape_attributes": {"name": "ellipse", "cx": 200, "cy": 150, "rx": 30, "ry": 20, "theta": 0.5}}
    ring["region_attributes"] = {"Type": "Faint"}
    records = [{"filename": f"D0070000{k}.png", "size": 1, "regions": [region, ring]} for k in (1, 2)]
    images = {f"{record['filename']}1": record for record in records}
    (folder / "via.json").write_text(json.dumps({"_via_settings": {}, "_via_img_metadata": images}, indent=1))


def _via_answer(folder: Path) -> Answer:
    read = read_annotations(folder / "via.json")
    answer = {"problems": repr([str(problem) for problem in read.problems])}
    for name, regions in read.images.items():
        for k, region in enumerate(regions):
            answer[f"{name} {k}"] = hashlib.sha256(region.mask().tobytes()).hexdigest()
    return answer


SEASON = SeasonConfig(n_exposures=4, ghosted_share=0.5, seed=3)


def _coco(folder: Path) -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    write_season(Season(SEASON.n_exposures, SEASON.ghosted_share, SEASON.seed), folder / "season")


def _coco_answer(folder: Path) -> Answer:
    source = SyntheticSeason(folder / "season", SEASON)

    def drawn(k: int) -> str:
        sample = source.draw(np.random.default_rng(k))
        return hashlib.sha256(sample.image.tobytes()).hexdigest()

    return {str(k): refusable(lambda k=k: drawn(k)) for k in range(4)}


def _veto(format_: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        rows = [(700001, 28, "S4", 0.25, 0.9), (700001, 35, "N4", 0.5, 0.8), (700002, 1, "S29", 1.0, 0.7)]
        said = (56600.2, "Ghost/Scatter", "cascade")
        table = pa.Table.from_pylist([dict(zip(VETO.names, (*row, *said), strict=True)) for row in rows], VETO)
        write_veto(VetoList(table, 0, VetoRule(), DECAM), folder / _LISTS[format_], format_)

    return make


def _check_refused(merged: str, format_: str) -> None:
    """Only FITS, whose columns are narrow, may refuse what another list held."""
    if format_ != "fits" or not merged.startswith("refused"):
        message = f"merged into {format_}: {merged[:300]}"
        raise WrongAnswerError(message)


_CCDNUMS = {ccd.ccdnum for ccd in DECAM.ccds}
_LISTS = {"csv": "veto.csv", "parquet": "veto.parquet", "des": "veto.txt", "fits": "veto.fits", "legacy": "veto.lis"}


def _veto_answer(format_: str) -> Callable[[Path], Answer]:
    def answer(folder: Path) -> Answer:
        read = open_list(folder / _LISTS[format_], DECAM)
        rows = read.table.to_pylist()
        for row in rows:
            numbers = [value for value in row.values() if isinstance(value, float)]
            if not 0 < row["expnum"] < 2**63 or row["ccdnum"] not in _CCDNUMS or not all(map(math.isfinite, numbers)):
                message = f"row {row!r}"
                raise WrongAnswerError(message)
        answer = {"rows": repr(rows)}
        nothing = VetoList(VETO.empty_table(), 0, VetoRule(), DECAM)
        for other, name in _LISTS.items():  # merged into a list of each form, and read back
            path = folder / f"merged-{name}"

            def merged(other: str = other, path: Path = path) -> str:
                vetoes, kept = merge_lists(nothing, None, [read], DECAM, other)
                write_veto(vetoes, path, other, kept=kept)
                return repr(sorted({(e.expnum, e.ccdnum) for e in open_list(path, DECAM, other).entries}))

            answer[f"merged {other}"] = refusable(merged)
            if answer[f"merged {other}"] != repr(sorted({(row["expnum"], row["ccdnum"]) for row in rows})):
                _check_refused(answer[f"merged {other}"], other)
        return answer

    return answer


TARGETS: Mapping[str, Target] = {
    "png": Target(lambda folder: _images(folder, "PNG", "png"), _inputs(""), ["image"]),
    "jpeg": Target(lambda folder: _images(folder, "JPEG", "jpg"), _inputs("")),
    "progressive jpeg": Target(lambda folder: _images(folder, "JPEG", "jpg", progressive=True), _inputs("")),
    "zip": Target(_zip, _inputs("set.zip"), ["image"]),
    "npy": Target(_npy, _npy_answer),
    "fits": Target(_fits(None), _fits_answer),
    "fits rice": Target(_fits("RICE_1"), _fits_answer),
    "fits gzip": Target(_fits("GZIP_2"), _fits_answer),
    "fits plio": Target(_fits("PLIO_1"), _fits_answer),
    "fits hcompress": Target(_fits("HCOMPRESS_1"), _fits_answer, share=0.1),
    "preview store": Target(_store, _inputs("store.zarr"), ["image"], ("store.zarr/**/*",), 2.0),
    "zarr 2": Target(_plain_zarr, _inputs("set.zarr")),
    "manifest csv": Target(_manifest("csv"), _inputs("m.csv"), victims=("m.csv",)),
    "manifest parquet": Target(_manifest("parquet"), _inputs("m.parquet"), victims=("m.parquet",)),
    "via": Target(_via, _via_answer),
    "coco season": Target(_coco, _coco_answer, victims=("season/*.json", "season/**/zarr.json"), share=0.5),
    **{f"veto {name}": Target(_veto(name), _veto_answer(name)) for name in FORMATS},
    **{name: Target(**options) for name, options in RUN_TARGETS.items()},
}
