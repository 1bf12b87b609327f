#!/usr/bin/env -S uv run --script
# /// script
# dependencies = ["nox>=2025.5"]
# ///
"""
What developers and the workflows run: `nox --list` says what there is, `nox -s NAME -- OPTIONS` runs one.

Plain `nox` is what to do before a commit; with uv installed it takes seconds to make an environment.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv|virtualenv"

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)
OLDEST = PYTHONS[0]
# As in .ci/run: two processes share the tests, and the one that is done early takes some of the other's.
TWO_WORKERS = ("-n", "2", "--dist", "worksteal")


def _group(name: str) -> list[str]:
    """Requirements of a dependency group."""
    return list(nox.project.dependency_groups(PYPROJECT, name))


@nox.session(python=PYTHONS, default=False)
def tests(session: nox.Session) -> None:
    """All tests but those of the other backends, with the newest dependencies."""
    session.install("--editable", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session(default=True)
def quick(session: nox.Session) -> None:
    """The tests that take less than a second, in less than two minutes on two cores."""
    session.install("--editable", ".[test]")
    session.run("pytest", "-m", "not slow and not backends", *TWO_WORKERS, *session.posargs)


@nox.session(default=True)
def lint(session: nox.Session) -> None:
    """Style, spelling, Markdown, and what the Scientific Python guide asks of a repository."""
    session.install(*_group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")
    session.run("rumdl", "check", ".")
    session.run("sp-repo-review", ".", "--show", "err")


@nox.session(default=True)
def types(session: nox.Session) -> None:
    """Types, strictly."""
    session.install("--editable", ".[test]", *_group("types"))
    session.run("mypy")


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """The commands, example and links of the README, and the notebook; there is no site yet."""
    session.install("--editable", ".[test]")
    session.run("pytest", "tests/cli/test_readme.py", "tests/runs/test_run_views.py", *session.posargs)


@nox.session(python=OLDEST, venv_backend="uv", default=False)
def oldest(session: nox.Session) -> None:
    """All tests with the lowest versions that pyproject.toml allows."""
    session.install("--resolution", "lowest-direct", "--editable", ".[test]")
    # Old packages use what newer ones, which they did not know, have deprecated since.
    quiet = ("-W", "ignore::DeprecationWarning", "-W", "ignore::FutureWarning")
    session.run("pytest", *quiet, *session.posargs)


@nox.session(default=False)
def minimal(session: nox.Session) -> None:
    """The program and the tests that need no extra, without any extra."""
    session.install(".", "pytest", "pytest-benchmark")
    folder = session.create_tmp()
    with session.chdir(folder):
        session.run("python", "-c", "import cascade; print(cascade.__version__)")
        session.run("cascade", "--help", silent=True)
        session.run("cascade", "demo", "--out", "demo", "--quiet")
    session.run("pytest", *session.posargs)


@nox.session(default=False)
def backends(session: nox.Session) -> None:
    """The networks on JAX and PyTorch, compared with TensorFlow."""
    session.install("--editable", ".[test]", "jax", "torch")
    session.run("pytest", "-m", "backends", *session.posargs)


@nox.session(default=False)
def wheel(session: nox.Session) -> None:
    """Build the source distribution and from it the wheel; the wheel has all files, and its models work."""
    shutil.rmtree("dist", ignore_errors=True)
    session.install("build", "twine")
    session.run("python", "-m", "build")
    built = sorted(map(str, Path("dist").glob("*")))
    session.run("twine", "check", "--strict", *built)
    (archive,) = Path("dist").glob("*.whl")
    session.run("python", ".ci/check_wheel.py", str(archive))
    session.install(str(archive))
    with session.chdir(session.create_tmp()):  # not the package of the checkout
        session.run("cascade", "--version")
        session.run("cascade", "models", "verify")


if __name__ == "__main__":
    nox.main()
