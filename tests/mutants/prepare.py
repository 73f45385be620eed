"""Make build/mutants, the tree in which mutmut can change runbooks/ and run its tests.

mutmut wants modules in the folders that their names say, and here these stand at the top; it passes over properties; and
it reads its settings where it is started. Names of modules as arguments have those alone mutated.
"""

from __future__ import annotations

import ast
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "runbooks"
TESTS = Path("tests/unit/runbooks")
TREE = ROOT / "build/mutants"
PACKAGE = Path("keydb_runbooks/runbooks")

# Cases that read the code itself would read every mutant at once, and docs/ is not in the tree.
SETTINGS = """
[tool.mutmut]
source_paths = ["keydb_runbooks"]
only_mutate = [{only}]
pytest_add_cli_args_test_selection = ["{tests}", "-k", "not has_a_case and not the_page"]
pytest_add_cli_args = ["-p", "no:cacheprovider"]
use_git_change_detection = false
"""

# The survivors are the same in each run. That an example fails is enough: a smaller one isn't looked for.
PROFILE = """
from hypothesis import Phase

phases = (Phase.explicit, Phase.generate)
settings.register_profile("mutants", settings.get_profile("unit"), derandomize=True, phases=phases)
settings.load_profile("mutants")
"""


def prepare(modules: list[str]) -> None:
    """Copy the code, its tests and the settings of both."""
    shutil.rmtree(TREE, ignore_errors=True)
    (TREE / PACKAGE).mkdir(parents=True)
    for path in RUNBOOKS.glob("*.py"):
        (TREE / PACKAGE / path.name).write_text(without_properties(path.read_text()))
    shutil.copytree(ROOT / TESTS, TREE / TESTS, ignore=shutil.ignore_patterns("__pycache__"))
    conftest = TESTS.parent / "conftest.py"
    (TREE / conftest).write_text((ROOT / conftest).read_text() + PROFILE)
    only = ", ".join(f'"{PACKAGE}/{module}.py"' for module in modules)
    (TREE / "pyproject.toml").write_text(
        (ROOT / "pyproject.toml").read_text() + SETTINGS.format(only=only, tests=TESTS)
    )


def without_properties(text: str) -> str:
    """A module whose ``@property`` is a call behind the function instead; every line stays where it is."""
    lines = text.split("\n")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and [ast.unparse(one) for one in node.decorator_list] == ["property"]:
            lines[node.decorator_list[0].lineno - 1] = ""
            assert lines[node.end_lineno] == "", f"no blank line behind {node.name}"
            lines[node.end_lineno] = f"{' ' * node.col_offset}{node.name} = property({node.name})"
    return "\n".join(lines)


def main() -> None:
    everything = sorted(path.stem for path in RUNBOOKS.glob("*.py") if path.stem != "__init__")
    if unknown := set(sys.argv[1:]) - set(everything):
        sys.exit(f"runbooks/ has no {' and no '.join(sorted(unknown))}; there are {', '.join(everything)}")
    prepare(sys.argv[1:] or everything)


if __name__ == "__main__":
    main()
