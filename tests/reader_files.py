"""Builders of the files that the tests of the readers open, and short views of what a reader lists."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import zarr
from PIL import Image

from cascade.inputs import Reader


def preview(number: int = 0) -> np.ndarray:
    """A gradient that differs from image to image."""
    rows, columns = np.mgrid[:400, :400]
    return ((rows // 2 + columns // 4 + 10 * number) % 256).astype(np.uint8)


def encode(image: np.ndarray | Image.Image, format_: str = "PNG", **options) -> bytes:
    stream = BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(stream, format_, **options)
    return stream.getvalue()


def write(path: Path, data: bytes | np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(data) if isinstance(data, np.ndarray) else data)
    return path


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def write_zarr(path: Path, n: int = 3, **columns) -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.create_array("preview", data=np.stack([preview(k) for k in range(n)]), chunks=(1, 400, 400))
    for name, values in columns.items():
        group.create_array(name, data=np.asarray(values))
    return path


def paths(reader: Reader) -> list[str]:
    return [reader.source(k).path for k in range(len(reader))]


def expnums(reader: Reader) -> list[int | None]:
    return [reader.source(k).expnum for k in range(len(reader))]


def one_of_each(folder: Path) -> dict[str, Path]:
    """One input of every kind, each with the previews 0, 1 and 2."""
    names = [f"D{k:08d}.png" for k in range(3)]
    for k, name in enumerate(names):
        write(folder / "night" / name, preview(k))
    stack = folder / "x_stack.npy"
    np.save(stack, np.stack([preview(k) for k in range(3)]))
    manifest = folder / "manifest.csv"
    manifest.write_text("expnum,path\n" + "".join(f"{k},night/{name}\n" for k, name in enumerate(names)))
    return {
        "folder": folder / "night",
        "pattern": folder / "night" / "*.png",
        "zip": write_zip(folder / "set.zip", {name: encode(preview(k)) for k, name in enumerate(names)}),
        "npy": stack,
        "zarr": write_zarr(folder / "store.zarr"),
        "csv": manifest,
    }
