"""Tests of cascade.core.machine."""

import errno
import resource

import numpy as np
import pytest

from cascade.core import machine
from cascade.core.errors import input_error
from cascade.core.machine import machine_fault, memory_fault


def raised_from(cause):
    error = input_error("x", "cannot read it")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("cause", "fault"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "expected 256 MiB of memory beside the networks, got less"),
        (ImportError("no room for it", name="sep"), "expected the module sep, got no room for it"),
        (OSError(errno.EIO, "Input/output error"), None),
        (FileNotFoundError(errno.ENOENT, "No such file"), None),
        (ValueError("damaged"), None),
        (MemoryError(), None),
    ],
)
def test_what_is_the_machines_fault(cause, fault):
    assert machine_fault(cause) == fault
    assert machine_fault(raised_from(cause)) == fault


def test_lack_of_memory_is_the_machines_where_a_usual_exposure_finds_none(monkeypatch):
    def empty(*_):
        raise MemoryError

    monkeypatch.setattr(machine.np, "empty", empty)
    assert machine_fault(raised_from(MemoryError())) == memory_fault()
    assert np.empty is empty


def test_limit_on_memory_is_named(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (700 << 20, -1))
    assert memory_fault() == "expected 256 MiB of memory beside the networks, got a limit of 700 MiB (ulimit -v)"
