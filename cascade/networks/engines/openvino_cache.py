"""
Cache of exported networks in the user's cache folder.

A folder of the cache is taken only if it is as it was written, by the hashes that were made when Keras was there, and
if nobody but the user can have written it; else the network is exported anew.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from functools import cache
from hashlib import sha256
from multiprocessing.util import Finalize
from pathlib import Path

import numpy as np

from cascade.core.errors import ConfigError, StoreError
from cascade.core.exposure import UInt8Array
from cascade.core.user_cache import check_own, user_cache
from cascade.networks.engines.base import OUTPUT_NAMES, KerasEngine, Outputs
from cascade.networks.engines.openvino_run import import_openvino
from cascade.networks.engines.parity import parity_previews
from cascade.networks.model_info import ModelInfo
from cascade.networks.models import file_sha256, load_network, verify_weights
from cascade.storage.atomic import read_json, sync, write_json

logger = logging.getLogger(__name__)

_REFERENCE = "keras.npz"
_HASHES = "sha256.json"


class _UnfitError(Exception):
    """A folder of the cache is not as it was written."""


def exported(info: ModelInfo) -> tuple[Path, UInt8Array, Outputs]:
    """
    Get a model's OpenVINO files; they are exported if not cached, or if the cache is damaged.

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
    folder = _cache_folder() / _key(info)
    images = parity_previews()
    try:
        _check(folder)
    except FileNotFoundError:
        logger.info("%s: exporting to OpenVINO, once, into %s", info.name, folder)
        _fill(info, folder, images)
    except _UnfitError as error:
        logger.warning("%s: made anew, since %s", folder, error)
        _fill(info, folder, images)
    with np.load(folder / _REFERENCE, allow_pickle=False) as file:
        return folder, images, {key: file[key] for key in OUTPUT_NAMES[info.task] if key in file}


def _check(folder: Path) -> None:
    """Refuse a folder that is not as it was written; FileNotFoundError if there is none."""
    folder.lstat()
    try:
        check_own(folder)
        expected = read_json(folder / _HASHES)
        got = {path.name for path in folder.iterdir()}
        if got != {*expected, _HASHES}:
            msg = f"it should hold {', '.join(sorted(expected))}, but holds {', '.join(sorted(got))}"
            raise _UnfitError(msg)
        for name, digest in expected.items():
            path = folder / name
            if path.is_symlink() or not path.is_file():
                msg = f"{name} is no plain file"
                raise _UnfitError(msg)
            check_own(path)
            if file_sha256(path) != digest:
                msg = f"{name} has another sha256 than when it was written"
                raise _UnfitError(msg)
    except (ConfigError, StoreError, OSError) as error:
        raise _UnfitError(str(error)) from error


def _fill(info: ModelInfo, folder: Path, images: UInt8Array) -> None:
    """Export a model into a folder, which appears whole; one that is there and does not fit gives way."""
    aside = Path(tempfile.mkdtemp(prefix=".aside-", dir=folder.parent))
    try:
        new, old = aside / "new", aside / "old"
        new.mkdir(mode=0o700)
        _export(info, new, images)
        write_json(new / _HASHES, {path.name: file_sha256(path) for path in sorted(new.iterdir())})
        for path in new.iterdir():
            path.chmod(0o600)
            sync(path)
        sync(new)
        try:
            _check(folder)  # another process may have been faster
        except FileNotFoundError:
            new.rename(folder)
        except _UnfitError:
            folder.rename(old)
            new.rename(folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _export(info: ModelInfo, folder: Path, images: UInt8Array) -> None:
    """Write the OpenVINO files and Keras' outputs."""
    from cascade.networks.engines.openvino_export import export

    network = load_network(info)
    export(network, info.task, folder)
    reference = KerasEngine(network, info.task)(images)
    with (folder / _REFERENCE).open("wb") as file:
        np.savez(file, **reference)  # type: ignore[arg-type]


def _key(info: ModelInfo) -> str:
    """Name of a model's cache folder."""
    import_openvino()
    from importlib.metadata import version

    parts = (info.sha256, info.description_sha256, version("openvino"), _code_hash())
    return f"{info.name}-{sha256('|'.join(parts).encode()).hexdigest()[:24]}"


@cache
def _code_hash() -> str:
    """Hash of the code of networks and export, and of the images of the parity check."""
    package = Path(__file__).parents[1]
    digest = sha256()
    files = (path for part in ("nets", "engines") for path in (package / part).iterdir())
    for path in sorted(path for path in files if path.suffix in (".py", ".npz")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _cache_folder() -> Path:
    """Folder of exported networks; where the user's cannot be used, one that goes with this process."""
    try:
        return user_cache()
    except ConfigError as error:
        logger.warning("%s; OpenVINO files will not be cached", error)
        folder = Path(tempfile.mkdtemp(prefix="ghost-cascade-"))
        # Not atexit, which processes that multiprocessing has started leave out.
        Finalize(None, shutil.rmtree, args=(folder, True), exitpriority=0)
        return folder
