from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def _stderr(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr


def test_importing_keras_prints_nothing_and_gives_standard_error_back():
    printed = _stderr(
        "from cascade.core.keras_startup import import_keras; import_keras(); import os; os.write(2, b'back')"
    )
    assert printed == "back"


def test_keras_takes_the_memory_of_a_gpu_as_it_needs_it():
    code = (
        "import os, sys, cascade.core.keras_startup as q\n"
        "q.importlib.import_module = lambda name: None\n"
        "q.import_keras()\n"
        "print(os.environ['TF_FORCE_GPU_ALLOW_GROWTH'], os.environ['XLA_PYTHON_CLIENT_PREALLOCATE'], file=sys.stderr)"
    )
    assert _stderr(code) == "true false\n"


def test_failed_import_shows_what_was_printed():
    code = (
        "import os, sys, cascade.core.keras_startup as q\n"
        "q.importlib.import_module = lambda name: (os.write(2, b'the cause'), 1 / 0)\n"
        "q.import_keras()"
    )
    printed = _stderr(code)
    assert "the cause" in printed
    assert "ZeroDivisionError" in printed


def test_import_works_without_standard_error():
    assert _stderr("import os; os.close(2); from cascade.core.keras_startup import import_keras; import_keras()") == ""
