"""Storages from the paths and URLs that users give."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from cascade.core.errors import ConfigError
from cascade.storage.base import Storage
from cascade.storage.local import LocalStorage
from cascade.storage.object_store import ObjectStorage
from cascade.storage.stores import URL_START, split_url

_URL_OF_A_PATH = re.compile(f"{URL_START}?")  # a Path made from a URL has lost a slash


def open_storage(place: Storage | Path | str) -> Storage:
    """
    Give the storage of a folder or of a URL such as ``s3://bucket/prefix``; no request is made.

    Raises
    ------
    ConfigError
        If `cascade.storage.stores` lists no such URL, or obstore is not installed.
    """
    if not isinstance(place, str | Path):
        return place
    if found := _URL_OF_A_PATH.match(str(place)):
        start = found[0].rstrip("/")
        root, prefix = split_url(f"{start}//{str(place)[found.end() :]}")
        return _object_storage(f"{root}/{prefix}".rstrip("/"))
    return LocalStorage(Path(place))


def open_bucket(url: str) -> tuple[Storage, str]:
    """
    Give the storage of a whole bucket, and the key there, of a URL.

    Raises
    ------
    ConfigError
        As `open_storage`.
    """
    root, key = split_url(url)
    return _object_storage(root), key


def _object_storage(url: str) -> ObjectStorage:
    """The storage of a prefix, unless the package that it needs is missing."""
    if find_spec("obstore") is None:
        msg = f"{url}: expected obstore for object stores, which is not installed: pip install 'ghost-cascade[s3]'"
        raise ConfigError(msg)
    return ObjectStorage(url)


def local_path(place: Path | str) -> Path:
    """
    Give the path of output that needs a local disk.

    Raises
    ------
    ConfigError
        If it is a URL.
    """
    if _URL_OF_A_PATH.match(str(place)):
        msg = f"{place}: expected a local path, got a URL; write locally, then copy the result to the object store"
        raise ConfigError(msg)
    return Path(place)
