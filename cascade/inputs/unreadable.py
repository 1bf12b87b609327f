"""What an object that a store does not give means: a failed exposure, or that nothing can be read there."""

from __future__ import annotations

from cascade.core.errors import ConfigError, InputError, input_error, reason
from cascade.storage import ObjectError, Storage


def unreadable(storage: Storage, key: str, path: str, error: Exception) -> InputError:
    """
    The error about one object; it is no outage if the store refuses, or fails on, this object alone.

    Parameters
    ----------
    storage : Storage
    key : str
        Of the object there.
    path : str
        How errors name it.
    error : Exception
        What reading it raised.

    Returns
    -------
    InputError
        To be raised; its cause is set.

    Raises
    ------
    ConfigError
        If the store refuses to list the folder of the object, too: credentials are wrong or have expired.
    """
    if isinstance(error, PermissionError):
        try:
            storage.check_open(key.rpartition("/")[0])
        except (FileNotFoundError, PermissionError) as denied:
            msg = f"{path}: {reason(error)}; nor can its folder be listed: check the credentials"
            raise ConfigError(msg) from denied
    problem = "no such object" if isinstance(error, FileNotFoundError) else reason(error)
    found = input_error(path, problem)
    # An error of the system as the cause would say that the input is away for a while.
    found.__cause__ = None if isinstance(error, PermissionError | ObjectError) else error
    return found
