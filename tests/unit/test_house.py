"""Imports point one way, and runbooks/ decides with values alone."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASE = {"runbooks", "schemas", "templates"}
ALLOWED = {
    "runbooks": set(),
    "schemas": {"runbooks"},
    "templates": {"runbooks"},
    "connectors": BASE,
    "facts": BASE | {"connectors"},
    "operations": BASE | {"connectors", "facts"},
    "deploys": BASE | {"connectors", "facts", "operations"},
}
FILES = sorted(path for folder in ALLOWED for path in (ROOT / folder).rglob("*.py"))
PURE = sorted((ROOT / "runbooks").rglob("*.py"))
NO_VALUES = {"time", "datetime", "random", "secrets", "socket", "os", "subprocess", "pathlib", "io", "asyncio", "threading", "logging"}  # fmt: skip


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it, by its full name."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)} line {node.lineno}: write the whole name, not a relative one"
            modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_point_one_way(path):
    folder = path.relative_to(ROOT).parts[0]
    own = {module.split(".")[1] for module in imported(path) if module.startswith("keydb_runbooks.")}
    assert own - ALLOWED[folder] - {folder} == set()


@pytest.mark.parametrize("path", PURE, ids=name)
def test_runbooks_import_nothing_but_runbooks_and_plain_standard_library(path):
    others = {module.split(".")[0] for module in imported(path)} - {"keydb_runbooks", "__future__"}
    assert others <= set(sys.stdlib_module_names) - NO_VALUES


@pytest.mark.parametrize("path", PURE, ids=name)
def test_runbooks_read_and_print_nothing(path):
    calls = {node.func.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}  # fmt: skip
    assert not calls & {"open", "print", "input", "exec", "eval", "__import__"}


def test_every_folder_of_the_house_was_looked_at():
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(ALLOWED)
