"""Importing TensorFlow without the lines that its C++ side prints whatever it is told."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile

_ERRORS_ONLY = "3"  # of TensorFlow's levels 0 to 3


def import_keras() -> None:
    """
    Import Keras and its backend, keeping what they print on standard error unless the import fails.

    Half a dozen lines about CUDA and the CPU come from C++ before any setting counts, on every worker, so the
    descriptor itself is turned away for these few seconds.
    """
    if "keras" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _ERRORS_ONLY)
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
