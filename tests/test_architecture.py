"""Imports point one way, and importing the package costs nothing."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import elman

ROOT = Path(elman.__file__).parent

GROUND = ("errors", "arguments", "reading", "rng", "config", "environment", "plotting")
"""The files that lie beside the packages; they import each other at most, upwards in this order."""
LOWER = ("storage", "data", "cells", "engines", "models", "inference", "training")
PACKAGES = (*LOWER, "comparison", "forecasting", "reproduce", "cli")
"""Each may import what stands before it. Imports for types alone count as well."""
BESIDE = {"comparison", "forecasting"}
"""Two that do not know each other."""
RANK = {name: rank for rank, name in enumerate((*GROUND, *PACKAGES, "__main__"))}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(["elman", *parts]).removesuffix(".__init__"), path


def layer(module: str) -> str:
    """The second part of a module's name: elman.data.vocab is of the layer data."""
    return module.split(".")[1] if "." in module else module


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, at the top, in a function, or for types alone."""

    def walk(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}: a relative import"
                assert child.module
                yield child.module
                yield from (f"{child.module}.{alias.name}" for alias in child.names)
            yield from walk(child)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")))


def executed(path: Path) -> Iterator[str]:
    """Every module that a file imports at its top when it is imported."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


MODULES = dict(modules())


def test_every_module_has_its_place():
    assert {layer(name) for name in MODULES} - {"elman"} == set(RANK)


@pytest.mark.parametrize("name", [n for n in MODULES if n != "elman"])
def test_imports_point_one_way(name):
    for other in imported(MODULES[name]):
        if other.startswith("elman.") and layer(other) in RANK:
            assert RANK[layer(other)] <= RANK[layer(name)], f"{name} imports {other}"
            assert {layer(other), layer(name)} != BESIDE, f"{name} imports {other}"


@pytest.mark.parametrize("name", [n for n in MODULES if layer(n) in {"errors", "config", "storage", "data"}])
def test_data_and_storage_know_no_torch(name):
    """Reading a text, or a configuration that is wrong, need not cost the seconds that importing PyTorch takes."""
    for other in executed(MODULES[name]):
        if other.split(".")[0] in {"torch", "safetensors", "jaxtyping"}:
            pytest.fail(f"{name} imports {other}")


def test_modules_do_not_go_round_in_circles():
    graph = {n: {o for o in imported(p) if o in MODULES and o != n} for n, p in MODULES.items() if n != "elman"}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path, name])
        if name not in done:
            for other in graph.get(name, ()):
                if not name.startswith(f"{other}."):  # a package imports what lies in it
                    visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


HEAVY = {"torch", "safetensors", "matplotlib", "jaxtyping"}


@pytest.mark.parametrize("module", ["elman", "elman.cli.app", "elman.cli", "elman.data.corpus", "elman.data.batches"])
def test_importing_costs_no_torch(module):
    loaded = run_python(f"import sys, {module}; print(*sys.modules)").split()
    assert not HEAVY & {name.split(".")[0] for name in loaded}
    assert module in loaded


def test_public_names_are_what_they_should_be_whatever_was_imported_before():
    """A function may not be hidden by a module of the same name that somebody imported first."""
    names = run_python(
        "import importlib, pkgutil, elman\n"
        "for m in pkgutil.walk_packages(elman.__path__, 'elman.'):\n"
        "    m.name.endswith('__main__') or importlib.import_module(m.name)\n"
        "for name in elman.__all__:\n"
        "    print(name, getattr(elman, name).__module__, type(getattr(elman, name)).__name__)\n"
    )
    found = {line.split()[0]: line.split()[1:] for line in names.splitlines()}
    assert set(found) == set(elman.__all__)
    for name, (module, kind) in found.items():
        assert kind != "module", name
        assert module.startswith("elman."), name


def test_all_public_names_exist_and_no_others():
    assert len(set(elman.__all__)) == len(elman.__all__)
    assert all(hasattr(elman, name) for name in elman.__all__)
    with pytest.raises(AttributeError, match="No elman attribute trian"):
        _ = elman.trian


def test_importing_draws_nothing_and_changes_no_global_setting():
    run_python(
        "import torch, numpy as np\n"
        "torch.manual_seed(1); np.random.seed(1)\n"
        "before = torch.get_rng_state(), np.random.get_state()[1].tolist(), torch.get_num_threads()\n"
        "import elman.training.report, elman.plotting\n"
        "after = torch.get_rng_state(), np.random.get_state()[1].tolist(), torch.get_num_threads()\n"
        "assert torch.equal(before[0], after[0]) and before[1:] == after[1:]\n"
    )


def test_no_pickle_and_no_torch_load_anywhere():
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                whole = ast.unparse(node)
                assert whole not in {"torch.load", "torch.save", "np.load"}, name
        assert not {"pickle", "joblib", "shelve", "marshal", "dill"} & {o.split(".")[0] for o in imported(path)}, name


@pytest.mark.parametrize("old", elman.RENAMED)
def test_a_name_of_before_still_works_and_says_the_new_one(old):
    with pytest.warns(DeprecationWarning, match=f"elman.{old} is now elman.{elman.RENAMED[old]}"):
        assert getattr(elman, old) is getattr(elman, elman.RENAMED[old])
