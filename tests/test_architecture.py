from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cascade"

# What each room may import: nothing else, and only what stands above it here. ARCHITECTURE.md shows this table.
ROOMS = {
    "core": "",
    "storage": "core",
    "camera": "core",
    "inputs": "core storage camera",
    "optics": "core camera",
    "sky": "core camera optics",
    "simulate": "core storage camera inputs optics sky",
    "networks": "core storage",
    "veto": "core storage camera",
    "runs": "core storage camera inputs networks veto",
    "pipeline": "core storage camera inputs optics sky networks runs",
    "export": "core storage camera inputs runs",
    "pages": "core storage camera networks runs veto",
    "evaluate": "core storage camera inputs runs veto",
    "training": "core storage camera inputs simulate networks evaluate",
    "bench": "core storage camera inputs simulate networks runs veto pipeline evaluate training",
    "cli": ("core camera inputs simulate networks runs veto pipeline export pages evaluate training bench"),
}


def _modules() -> dict[Path, str]:
    """Every source file of the package and its room."""
    return {
        path: path.relative_to(PACKAGE).parts[0] for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE
    }


def _imported(path: Path, *, for_types: bool = True) -> set[str]:
    """Names of the modules, of this package and others, that a file imports anywhere, or anywhere but for types."""
    names: set[str] = set()
    tree = ast.parse(path.read_text())
    if not for_types:
        tree.body = [
            node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
        ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _rooms_of(path: Path) -> set[str]:
    """Other rooms that a file imports."""
    named = {name.split(".")[1] for name in _imported(path) if name.startswith("cascade.")}
    return named - {_modules()[path]}


def test_every_folder_is_a_room_and_every_room_a_folder():
    assert sorted(set(_modules().values())) == sorted(ROOMS)


def test_a_room_may_import_only_rooms_before_it():
    before: set[str] = set()
    for room, allowed in ROOMS.items():
        assert set(allowed.split()) <= before
        before.add(room)


def test_the_architecture_page_shows_the_table():
    page = (PACKAGE.parent / "ARCHITECTURE.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([\w, –]+) \|$", page, flags=re.MULTILINE)
    assert [(room, allowed.replace(",", "").strip("–")) for room, allowed in shown] == list(ROOMS.items())


def test_every_import_that_is_allowed_is_made():
    made = {(room, other) for path, room in _modules().items() for other in _rooms_of(path)}
    assert made == {(room, other) for room, allowed in ROOMS.items() for other in allowed.split()}


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_keep_to_the_table(path):
    room = _modules()[path]
    others = _rooms_of(path) - set(ROOMS[room].split())
    assert not others, f"{room} must not import {', '.join(others)}"


def _module_name(path: Path) -> str:
    """The name by which a source file is imported."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _loaded(name: str, importer: str, modules: set[str]) -> set[str]:
    """
    Modules that a module loads by importing a name: the one named, and the packages around it.

    The packages around the importer are not among them, as they are being loaded already, unless one is imported by
    name: ``from cascade.inputs import Reader`` in a module of that package waits for what waits for it.
    """
    parts = name.split(".")
    found = [part for n in range(1, len(parts) + 1) if (part := ".".join(parts[:n])) in modules]
    return {part for part in found if part == found[-1] or not f"{importer}.".startswith(f"{part}.")}


def _circle(imported: dict[str, set[str]]) -> list[str]:
    """Modules that import each other, as names in turn; none if they can be put in an order."""
    modules = set(imported)
    graph = {
        module: set().union(*(_loaded(name, module, modules) for name in names)) for module, names in imported.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_no_modules_import_each_other_in_a_circle():
    # cascade itself imports its public names only when they are asked for. A function that a method calls may name the
    # class in its signature.
    assert not _circle({_module_name(path): _imported(path, for_types=False) for path in _modules()})


def test_circles_are_found_through_submodules_and_packages():
    assert _circle({"a.b": {"a.c.name"}, "a.c": {"a.b"}})
    assert _circle({"a": {"a.b.name"}, "a.b": {"a.name"}})
    assert _circle({"a": {"b.c"}, "b": {"a.d"}, "b.c": set(), "a.d": set()})
    assert _circle({"a.b": {"a.b.name"}})
    assert not _circle({"a": {"a.b.name"}, "a.b": {"a.c.name", "json.dumps"}, "a.c": set()})


def test_a_run_knows_of_the_networks_only_which_model_it_was():
    imported = {name for path, room in _modules().items() if room == "runs" for name in _imported(path)}
    assert {name for name in imported if name.startswith("cascade.networks")} == {"cascade.networks.model_id.ModelId"}


def test_only_one_package_imports_dask():
    users = {
        "/".join(path.relative_to(PACKAGE).parts[:2])
        for path in _modules()
        if any(i.split(".")[0] in {"dask", "distributed"} for i in _imported(path))
    }
    assert users == {"pipeline/dask"}


def test_only_one_module_meets_the_c_code_of_run_lengths():
    users = {
        str(path.relative_to(PACKAGE))
        for path in _modules()
        for i in _imported(path)
        if i.startswith("pycocotools.mask")
    }
    assert users == {"core/run_lengths.py"}


def test_networks_use_no_backend_directly():
    for path in (PACKAGE / "networks" / "nets").glob("*.py"):
        assert not {i.split(".")[0] for i in _imported(path)} & {"tensorflow", "jax", "torch"}


def test_no_file_is_over_long():
    long = {path.name: n for path in _modules() if (n := len(path.read_text().splitlines())) > 420}
    assert not long


@pytest.mark.parametrize("statement", ["import cascade", "import cascade; cascade.open_run", "import cascade.cli.app"])
def test_importing_loads_nothing_heavy(statement):
    heavy = {"keras", "tensorflow", "dask", "distributed", "pandas", "xarray", "matplotlib"}
    code = f"import sys; {statement}; print({heavy} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"


def test_every_public_name_exists():
    import cascade

    for name in cascade.__all__:
        assert getattr(cascade, name) is not None
    assert set(cascade.__all__) == set(cascade._HOME)
    with pytest.raises(AttributeError, match="no attribute 'ghost'"):
        cascade.ghost  # noqa: B018


def test_the_tests_lie_in_the_rooms_of_what_they_test():
    folders = {path.parent.name for path in Path(__file__).parent.glob("*/test_*.py")}
    assert folders == set(ROOMS)
