"""Cache of exported networks in the user's cache folder."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from cascade.core.exposure import UInt8Array
from cascade.networks.engines.base import OUTPUT_NAMES, KerasEngine, Outputs
from cascade.networks.engines.openvino_run import import_openvino
from cascade.networks.engines.parity import parity_previews
from cascade.networks.model_info import ModelInfo
from cascade.networks.models import load_network, verify_weights

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "XDG_CACHE_HOME"
"""Environment variable with the root of all caches; default ``~/.cache``."""

_REFERENCE = "keras.npz"


def exported(info: ModelInfo) -> tuple[Path, UInt8Array, Outputs]:
    """
    Get a model's OpenVINO files; they are exported if not cached.

    The name of the folder is a hash of the weights, the description, OpenVINO's version and the code of the networks.

    Returns
    -------
    folder : Path
    images : ndarray of uint8, shape (B, 400, 400)
        Those of `parity_previews`.
    reference : dict of ndarray
        Keras' outputs for them.

    Raises
    ------
    ModelError
        If the model is damaged.
    ConfigError
        If it is not cached and Keras does not run on TensorFlow.
    """
    verify_weights(info)
    root = _cache_folder()
    folder = root / _key(info)
    if not (folder / _REFERENCE).is_file():
        logger.info("%s: exporting to OpenVINO, once, into %s", info.name, folder)
        aside = Path(tempfile.mkdtemp(prefix=".aside-", dir=root))
        try:
            _export(info, aside)
            try:
                aside.rename(folder)
            except OSError:  # another process was faster
                if not (folder / _REFERENCE).is_file():
                    raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    with np.load(folder / _REFERENCE, allow_pickle=False) as file:
        return folder, file["images"], {key: file[key] for key in OUTPUT_NAMES[info.task] if key in file}


def _export(info: ModelInfo, folder: Path) -> None:
    """Write the OpenVINO files and Keras' outputs."""
    from cascade.networks.engines.openvino_export import export

    network = load_network(info)
    export(network, info.task, folder)
    images = parity_previews()
    reference = KerasEngine(network, info.task)(images)
    with (folder / _REFERENCE).open("wb") as file:
        np.savez(file, images=images, **reference)  # type: ignore[arg-type]


def _key(info: ModelInfo) -> str:
    """Name of a model's cache folder."""
    import_openvino()
    from importlib.metadata import version

    parts = (info.sha256, info.description_sha256, version("openvino"), _code_hash())
    return f"{info.name}-{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:24]}"


@cache
def _code_hash() -> str:
    """Hash of the code of networks and export, and of the images of the parity check."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    files = (path for part in ("nets", "engines") for path in (package / part).iterdir())
    for path in sorted(path for path in files if path.suffix in (".py", ".npz")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _cache_folder() -> Path:
    """Folder of exported networks; a temporary one if the user's is not writable."""
    root = Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache") / "ghost-cascade"
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            return root
    except OSError as error:
        logger.warning("%s: not writable (%s); OpenVINO files will not be cached", root, error.strerror)
        return Path(tempfile.mkdtemp(prefix="ghost-cascade-"))
