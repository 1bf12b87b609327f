"""
Throughput of previews from FITS exposures: `python benchmarks/preview_speed.py --out benchmarks/results`.

Writes full-size synthetic exposures (Rice-compressed, quantised like the Community Pipeline's) into a temporary folder,
times each step on one core and whole nights on several, and writes `preview.json` and `preview.md`. Steps are timed in
CPU seconds, which depend less on other load, and nights in wall-clock seconds.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np
from astropy.io import fits

from cascade.camera import Camera
from cascade.inputs.fits.binning import blocks_of
from cascade.inputs.fits.ccds import open_exposure
from cascade.inputs.fits.pixels import read_ccd
from cascade.inputs.fits.render import render
from cascade.inputs.fits.structure import read_bytes
from cascade.inputs.preview_night import preview_night
from cascade.simulate.full_resolution import FullExposure, Layout, write_exposure

REPEATS = 3

Result = TypeVar("Result")


def cpu_seconds(action: Callable[[], object]) -> float:
    """CPU seconds of the fastest of several runs."""
    spent = []
    for _ in range(REPEATS):
        start = time.process_time()
        action()
        spent.append(time.process_time() - start)
    return min(spent)


def alone(action: Callable[..., Result], *arguments: object) -> Result:
    """Call a function in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(action, *arguments).result()


def read_with_astropy(files: list[Path]) -> None:
    for file in files:
        with fits.open(file, memmap=False) as opened:
            for hdu in opened:
                if hdu.header.get("NAXIS") == 2:
                    np.asarray(hdu.data)


def read_with_fitsio(files: list[Path]) -> None:
    import fitsio

    for file in files:
        with fitsio.FITS(str(file)) as opened:
            for hdu in opened:
                if hdu.has_data():
                    hdu.read()


def steps(files: list[Path], camera: Camera) -> dict[str, float]:
    """CPU seconds of each step of an exposure."""
    with open_exposure(files, "x", camera) as exposure:
        names = {id(image): image.hdu for image in exposure.ccds}
        pixels = read_ccd(exposure.ccds[0], "x")
        n_ccds = len(exposure.ccds)

        def checksums() -> None:
            for image in exposure.ccds:
                read_bytes(image.file, names[id(image)], "x")

        def headers() -> None:
            with open_exposure(files, "x", camera):
                pass

        found = {
            "headers": cpu_seconds(headers),
            "reading and checksums": cpu_seconds(checksums),
            "decompression, astropy": cpu_seconds(lambda: read_with_astropy(files)),
            "bins and sky (sep)": n_ccds * cpu_seconds(lambda: blocks_of(pixels)),
            "whole preview": cpu_seconds(lambda: render(exposure, camera)),
        }
    try:
        found["decompression, fitsio"] = cpu_seconds(lambda: read_with_fitsio(files))
    except ImportError:
        print("fitsio is not installed: not compared")
    return found


def threads(files: list[Path], camera: Camera, numbers: list[int]) -> list[dict[str, float]]:
    """Wall-clock seconds to read all CCDs of an exposure, with several threads of one process."""
    rows = []
    with open_exposure(files, "x", camera) as exposure:
        for n_threads in numbers:
            start = time.perf_counter()
            with ThreadPoolExecutor(n_threads) as pool:
                for _ in pool.map(lambda image: read_ccd(image, "x").values.shape, exposure.ccds):
                    pass
            rows.append({"threads": n_threads, "seconds": round(time.perf_counter() - start, 2)})
    return rows


def peak_memory_mb(file: Path) -> float:
    """Peak resident memory of a process that makes one preview."""
    # Linux only; getrusage would include the parent's memory from before the fork.
    code = (
        "import sys; from cascade.inputs.fits.reader import open_fits;"
        "open_fits([sys.argv[1]], camera='decam').entry(0);"
        "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"
    )
    output = subprocess.run([sys.executable, "-c", code, str(file)], check=True, capture_output=True, text=True)
    return int(output.stdout) / 1024


def nights(file: Path, workers: list[int], folder: Path) -> list[dict[str, float]]:
    """Wall-clock seconds of a night of two exposures per process."""
    rows = []
    for n_workers in workers:
        night = folder / f"night{n_workers}"
        night.mkdir()
        for k in range(2 * n_workers):
            copy = night / f"c4d_121101_{k:06d}_ooi_g_v1.fits.fz"
            shutil.copy(file, copy)
            fits.setval(copy, "EXPNUM", value=800000 + k)
        done = preview_night([night], folder / f"night{n_workers}.zarr", n_workers=n_workers)
        rows.append(
            {
                "workers": n_workers,
                "exposures": done.n_added,
                "seconds": round(done.seconds, 1),
                "seconds_per_exposure": round(done.seconds / done.n_added, 2),
                "MB_per_second": round(done.n_bytes / 1e6 / done.seconds, 1),
            }
        )
        shutil.rmtree(night)
    return rows


def markdown(report: dict[str, object]) -> str:
    lines = [
        f"# FITS to previews\n\n{report['note']}\n",
        f"{report['machine']}; {report['versions']}; one exposure: {report['ccds']} CCDs.\n",
        "| layout | MB | step | CPU s per exposure | fraction of the preview | MB/s |",
        "|---|---|---|---|---|---|",
    ]
    for layout, row in report["layouts"].items():
        whole = row["seconds"]["whole preview"]
        for step, seconds in row["seconds"].items():
            rate = row["MB"] / seconds
            lines.append(
                f"| {layout} | {row['MB']:.0f} | {step} | {seconds:.2f} | {seconds / whole:.0%} | {rate:.0f} |"
            )
    lines += [
        "",
        f"Peak memory of a process: {report['peak_memory_mb']:.0f} MB.\n",
        "| processes | exposures | s | s per exposure | MB/s |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {' | '.join(map(str, row.values()))} |" for row in report["nights"]]
    lines += ["", "| threads of one process | s to decompress an exposure |", "|---|---|"]
    lines += [f"| {' | '.join(map(str, row.values()))} |" for row in report["threads"]]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ccds", type=int, default=62, help="CCDs per exposure; fewer for a quick test")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="processes, and threads")
    parser.add_argument("--note", default="Idle machine.")
    options = parser.parse_args()
    camera = Camera.decam()
    ccdnums = [ccd.ccdnum for ccd in camera.ccds if ccd.ccdnum != 61][: options.ccds]
    report: dict[str, object] = {
        "note": options.note,
        "machine": f"{platform.machine()}, {platform.python_implementation()} {platform.python_version()}",
        "versions": ", ".join(f"{name} {metadata.version(name)}" for name in ("astropy", "fitsio", "sep", "numpy")),
        "ccds": len(ccdnums),
        "layouts": {},
    }
    with tempfile.TemporaryDirectory(prefix="cascade-bench-") as name:
        folder = Path(name)
        layouts: tuple[Layout, ...] = ("instcal", "raw")
        for layout in layouts:
            files = write_exposure(FullExposure(800000), folder, camera, layout=layout, ccdnums=ccdnums)
            size = sum(file.stat().st_size for file in files) / 1e6
            report["layouts"][layout] = {"MB": round(size, 1), "seconds": alone(steps, files, camera)}
            if layout == "instcal":
                report["peak_memory_mb"] = peak_memory_mb(files[0])
                report["threads"] = alone(threads, files, camera, options.workers)
                report["nights"] = nights(files[0], options.workers, folder)
            for file in files:
                file.unlink()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "preview.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / "preview.md").write_text(markdown(report))
    print(markdown(report))


if __name__ == "__main__":
    main()
