from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cascade"

# Lower layers first. A module may import from its own layer only within its own top-level name, and from any below.
LAYERS = (
    {"errors", "versions", "atomic", "quiet", "storage", "model_id"},
    {"exposure", "data_files"},
    {"camera", "preview", "readers", "via", "nets", "run_config", "simulate", "paste", "fuse", "calibration"},
    {"model_info", "calibrate", "ccds"},
    {"golden"},
    {"models"},
    {"engines", "convert", "imagenet"},
    {"screen", "segment", "stub", "veto", "tables"},
    {"masks", "listing"},
    {"run_files"},
    {"lease", "run_log", "rows", "store"},
    {"pipeline", "predict", "verify", "preview_night", "run_inputs", "verdicts"},
    {"apart"},
    {"parallel"},
    {"season"},
    {"export"},
    {"report"},
    {"evaluate", "review", "notebook"},
    {"training"},
    {"bench"},
    {"cli"},
)
ALLOWED_WITHIN_LAYER = {
    ("atomic", "errors"),  # says what is wrong with a file
    ("storage", "atomic"),
    ("storage", "errors"),
    ("run_config", "errors"),
    ("preview", "camera"),
    ("readers", "camera"),
    ("readers", "preview"),  # a FITS exposure is read by making its preview
    ("simulate", "camera"),
    ("simulate", "preview"),  # the stretch that full-resolution exposures are drawn for
    ("simulate", "via"),  # outlines are what annotators draw
    ("store", "tables"),
}


def _modules() -> dict[Path, str]:
    """Every source file of the package and its top-level name."""
    return {
        path: path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent != PACKAGE or not path.name.startswith("__")
    }


def _imported(path: Path) -> set[str]:
    """Top-level names within the package, and other packages, that a file imports anywhere."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def _layer(name: str) -> int:
    return next(k for k, layer in enumerate(LAYERS) if name in layer)


def test_every_module_has_a_layer_and_every_layer_its_modules():
    assert sorted(set(_modules().values())) == sorted(name for layer in LAYERS for name in layer)


def test_no_exception_has_outlived_its_reason():
    imports = {
        (name, imported.split(".")[1])
        for path, name in _modules().items()
        for imported in _imported(path)
        if imported.startswith("cascade.")
    }
    assert imports >= ALLOWED_WITHIN_LAYER


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    name = _modules()[path]
    for imported in _imported(path):
        if not imported.startswith("cascade."):
            continue
        other = imported.split(".")[1]
        down = _layer(other) < _layer(name)
        assert down or other == name or (name, other) in ALLOWED_WITHIN_LAYER, f"{name} must not import {other}"


def test_only_the_parallel_module_imports_dask():
    users = {
        name
        for path, name in _modules().items()
        if any(i.split(".")[0] in {"dask", "distributed"} for i in _imported(path))
    }
    assert users == {"parallel"}


def test_networks_use_no_backend_directly():
    for path in (PACKAGE / "nets").glob("*.py"):
        assert not {i.split(".")[0] for i in _imported(path)} & {"tensorflow", "jax", "torch"}


def test_no_file_is_over_long():
    long = {path.name: n for path in _modules() if (n := len(path.read_text().splitlines())) > 420}
    assert not long


@pytest.mark.parametrize("statement", ["import cascade", "import cascade.cli.app"])
def test_importing_loads_neither_keras_nor_dask(statement):
    code = f"import sys; {statement}; print({{'keras', 'tensorflow', 'dask', 'distributed'}} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"


def test_every_public_name_exists():
    import cascade

    for name in cascade.__all__:
        assert getattr(cascade, name) is not None
    assert set(cascade.__all__) == set(cascade._HOME)
    with pytest.raises(AttributeError, match="no attribute 'ghost'"):
        cascade.ghost  # noqa: B018
