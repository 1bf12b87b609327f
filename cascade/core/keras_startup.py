"""Importing Keras without the start-up messages of its backend, and without reserving a whole GPU."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile

_SETTINGS = {
    "TF_CPP_MIN_LOG_LEVEL": "3",  # errors only
    # Allocate GPU memory on demand: other workers, or an isolated process, may share the GPU.
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # the same for JAX
}


def import_keras() -> None:
    """
    Import Keras and its backend, suppressing their output on standard error unless the import fails.

    Half a dozen lines about CUDA and the CPU come from C++ before any setting takes effect, on every worker, so the
    file descriptor itself is redirected meanwhile.
    """
    if "keras" in sys.modules:
        return
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        kept = os.dup(2)
    except OSError:  # no standard error at all, as under some schedulers
        importlib.import_module("keras")
        return
    with tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 2)
        try:
            importlib.import_module("keras")
        except BaseException:
            printed.seek(0)
            os.write(kept, printed.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
