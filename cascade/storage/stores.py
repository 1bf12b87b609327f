"""
The object stores there are, and how each is connected to: one class of obstore's each.

``s3://bucket/prefix``
    Amazon S3, and stores that speak its protocol at ``AWS_ENDPOINT_URL``; ``AWS_REGION``, ``AWS_ACCESS_KEY_ID``,
    ``AWS_SECRET_ACCESS_KEY``.
``gs://bucket/prefix``
    Google Cloud Storage; ``GOOGLE_APPLICATION_CREDENTIALS`` or ``GOOGLE_SERVICE_ACCOUNT``, each the path of a file, or
    ``GOOGLE_SKIP_SIGNATURE=true`` for public buckets; ``GOOGLE_BASE_URL`` for another server.
``az://container/prefix``
    Azure Blob Storage; ``AZURE_STORAGE_ACCOUNT_NAME`` with ``AZURE_STORAGE_ACCOUNT_KEY`` or
    ``AZURE_STORAGE_SAS_TOKEN``, or ``AZURE_SKIP_SIGNATURE=true``; ``AZURE_STORAGE_ENDPOINT`` for another server.

Names in capitals are environment variables, which every process reads for itself; obstore knows more of them.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from cascade.core.errors import ConfigError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_REQUEST_TIMEOUT = timedelta(seconds=30)
_RETRY_TIMEOUT = timedelta(seconds=60)
_N_RETRIES = 8


@dataclass(frozen=True, slots=True)
class _Kind:
    """
    A kind of store.

    Attributes
    ----------
    form
        Of its URLs, for messages.
    bucket
        Regular expression of the names of its buckets.
    store
        Name of obstore's class.
    variables
        How the names of its environment variables begin.
    endpoint
        Option of that class for the URL of the server.
    endpoint_variables
        Environment variables that may hold that URL; the first that is set counts.
    hosts
        Hosts, with those below them, of the service where no URL is set.
    login_hosts
        Hosts of the service that may be asked for credentials, whatever the URL.
    """

    form: str
    bucket: str
    store: str
    variables: str
    endpoint: str
    endpoint_variables: tuple[str, ...]
    hosts: tuple[str, ...]
    login_hosts: tuple[str, ...]


_KINDS = {
    "s3": _Kind(
        "s3://bucket/prefix", "[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "S3Store",
        "AWS_", "endpoint", ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        ("amazonaws.com", "amazonaws.com.cn", "api.aws"), ("sts.amazonaws.com",),
    ),
    "gs": _Kind(
        "gs://bucket/prefix", "[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", "GCSStore",
        "GOOGLE_", "base_url", ("GOOGLE_BASE_URL",),
        ("googleapis.com",), ("oauth2.googleapis.com", "google.internal"),
    ),
    "az": _Kind(
        "az://container/prefix", "[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", "AzureStore",
        "AZURE_", "endpoint", ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
        ("windows.net", "chinacloudapi.cn", "usgovcloudapi.net", "fabric.microsoft.com"),
        ("login.microsoftonline.com", "login.microsoftonline.us", "login.chinacloudapi.cn"),
    ),
}  # fmt: skip

NOWHERE = "127.0.0.1:1"
"""Where redirects to other hosts are sent: nobody listens there, for only root could."""

_METADATA = ("169.254.0.0/16", "fd00:ec2::254", "fd00:ec2::23")
"""Addresses at which a cloud gives a machine its credentials."""

_USER = re.compile(r"://[^/?#\s]*@")

URL_START = f"^(?:{'|'.join(_KINDS)})://"
"""Regular expression of how URLs begin, which Arrow takes, too."""


def is_url(name: str) -> bool:
    """Whether a name is that of something on an object store."""
    return re.match(URL_START, name) is not None


def split_url(url: str) -> tuple[str, str]:
    """
    Split a URL into that of its bucket, and the key there, which may be empty.

    Raises
    ------
    ConfigError
        If the bucket's name is invalid, or the key has empty, ``.`` or ``..`` parts.
    """
    kind = _KINDS[url.partition("://")[0]]
    found = re.fullmatch(f"([a-z0-9]+://{kind.bucket})(?:/(.*))?", url)
    key = "" if found is None else (found[2] or "").rstrip("/")
    if found is None or any(part in ("", ".", "..") for part in key.split("/") if key):
        name = without_password(url)
        msg = f"{name}: expected {kind.form}, got an invalid name of the bucket or prefix"
        raise ConfigError(msg)
    return found[1], key


@lru_cache(maxsize=64)
def connect(url: str) -> ObjectStore:
    """
    Give the store of a URL's prefix. It keeps connections open, so it is cached per process.

    Raises
    ------
    ConfigError
        If the environment lacks what the store needs.
    """
    from obstore import exceptions, store

    root, prefix = split_url(url)
    scheme, _, bucket = root.partition("://")
    kind = _KINDS[scheme]
    endpoint = next(filter(None, map(os.environ.get, kind.endpoint_variables)), "")
    options = {"allow_http": endpoint.startswith("http://"), "timeout": _REQUEST_TIMEOUT}
    try:
        found: ObjectStore = getattr(store, kind.store)(
            bucket,
            prefix=prefix or None,
            client_options=options | _no_redirects(kind, endpoint),
            retry_config={"max_retries": _N_RETRIES, "retry_timeout": _RETRY_TIMEOUT},
            **({kind.endpoint: endpoint} if endpoint else {}),
        )
    except exceptions.BaseError as error:
        msg = f"{url}: {first_line(error)}; the settings of the store are environment variables, {kind.variables}…"
        raise ConfigError(msg) from error
    return found


def _no_redirects(kind: _Kind, endpoint: str) -> dict[str, str]:
    """
    Options of a client that keep it from following redirects to other hosts.

    obstore has no option for that: its HTTP client follows them for GET and HEAD, to this machine and its network, too.
    So all hosts but those of the service get a proxy that does not exist. Where the user's own proxy must be asked
    there is no such protection.
    """
    named = [os.environ[name] for name in os.environ if name.startswith((kind.variables, "IDENTITY_", "MSI_"))]
    own = (urlsplit(value).hostname for value in (endpoint, *named) if value.startswith(("http://", "https://")))
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    login = (*kind.login_hosts, *([f"sts.{region}.amazonaws.com"] if region and "AWS_" in kind.variables else ()))
    hosts = dict.fromkeys((*filter(None, own), *(login if endpoint else (*kind.hosts, *login)), *_METADATA))
    if getproxies().keys() & {"http", "https", "all"} and not proxy_bypass(next(iter(hosts))):
        return {}
    return {"proxy_url": f"http://{NOWHERE}", "proxy_excludes": ",".join(hosts)}


def first_line(error: Exception) -> str:
    """The first line of a store's error, without its debug dump and without passwords."""
    return without_password(str(error).split("\n", 1)[0].strip()) or type(error).__name__


def without_password(text: str) -> str:
    """A text with user names and passwords of its URLs replaced by an ellipsis."""
    return _USER.sub("://…@", text)
