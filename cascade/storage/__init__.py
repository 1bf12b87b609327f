"""Places for files: a folder on disk or a prefix of an object store, where a file appears whole or not at all."""

from cascade.storage.base import ObjectError, Storage
from cascade.storage.open import local_path, open_bucket, open_storage
from cascade.storage.stores import URL_START, is_url

__all__ = ["URL_START", "ObjectError", "Storage", "is_url", "local_path", "open_bucket", "open_storage"]
