"""Let mutmut change runbooks/, and hold the survivors against explained.yaml beside this file.

It runs in the tree that prepare.py made. Each mutant that no test notices is explained, or a test is missing:
docs/testing.md says how to read one.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import libcst
import yaml
from mutmut.__main__ import cli
from mutmut.mutation import mutators
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files
from mutmut.utils.format_utils import orig_function_and_class_names_from_key

RUNBOOKS = Path(__file__).parents[2] / "runbooks"
EXPLAINED = Path(__file__).parent / "explained.yaml"
NOTICED = ("killed", "timeout")


@dataclass(frozen=True, order=True)
class Mutant:
    """A change of one function: ``module.function``, the line as it is, and what became of it."""

    where: str
    line: str
    becomes: str

    @property
    def module(self) -> Path:
        return RUNBOOKS / f"{self.where.partition('.')[0]}.py"

    def __str__(self) -> str:
        return f"{self.where}\n    - {self.line}\n    + {self.becomes}"


def line_number(mutant: Mutant) -> int:
    """Where the line stands in its module; the function's own line if it isn't found."""
    text = mutant.module.read_text()
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    node = next(node for node in functions if node.name == mutant.where.rpartition(".")[2])
    inside = enumerate(text.split("\n")[node.lineno - 1 : node.end_lineno], start=node.lineno)
    return next((number for number, one in inside if one.strip() and mutant.line.startswith(one.strip())), node.lineno)


def leave_sentences_alone(node: libcst.BaseString) -> Iterator[libcst.BaseString]:
    """Mutants of a text that is a code or a word of a protocol; one with a space in it is a sentence for people."""
    if isinstance(node, libcst.SimpleString) and " " not in node.value:
        yield from mutators.operator_string(node)


def mutate(workers: str) -> None:
    """Let mutmut run; if it can't, it says why and ends the program. It has no setting for the kinds of mutants."""
    own = {mutators.operator_string: leave_sentences_alone}
    operators = mutators.mutation_operators
    operators[:] = [(kind, own.get(operator, operator)) for kind, operator in operators]
    cli(["run", "--max-children", workers], standalone_mode=False)


def results() -> Iterator[tuple[str, Mutant]]:
    """What became of each mutant: ``killed``, ``survived``, ``timeout``, ..."""
    for path in sorted(walk_mutatable_files()):
        data = SourceFileMutationData(path=path)
        data.load()
        for name, code in data.exit_code_by_key.items():
            status = status_by_exit_code[code]
            yield status, Mutant(name, "", "") if status == "killed" else read(name, path)


def read(name: str, path: Path) -> Mutant:
    function, owner = orig_function_and_class_names_from_key(name)
    difference = get_diff_for_mutant(name, path=path).split("\n")[2:]
    line, becomes = (" ".join(one[1:].strip() for one in difference if one.startswith(sign)) for sign in "-+")
    return Mutant(".".join(filter(None, [path.stem, owner, function])), line, becomes)


def explained() -> Counter[Mutant]:
    """The survivors that have a reason, of modules that were mutated now or are gone."""
    entries = yaml.safe_load(EXPLAINED.read_text()) or []
    known = [Mutant(entry["in"], entry["line"], one) for entry in entries for one in entry["becomes"]]
    mutated = {path.name for path in walk_mutatable_files()}
    return Counter(mutant for mutant in known if mutant.module.name in mutated or not mutant.module.exists())


def report(seen: list[tuple[str, Mutant]], reasons: Counter[Mutant]) -> bool:
    """Print what is not explained, and what is explained but not so; whether there was neither."""
    left = Counter(mutant for status, mutant in seen if status not in NOTICED)
    new, wrong = left - reasons, reasons - left
    for status, mutant in sorted(seen):
        if status == "timeout" or mutant in new:
            print(f"{status}: runbooks/{mutant.module.name}:{line_number(mutant)} {mutant}")
    for mutant in sorted(wrong):
        print(f"explained, but noticed or gone: {mutant}")
    print(f"{len(seen)} mutants: {len(seen) - left.total()} noticed, {(left & reasons).total()} explained,", end=" ")
    print(f"{new.total()} neither; {wrong.total()} explanations in {EXPLAINED.name} that don't fit")
    return not new and not wrong


if __name__ == "__main__":
    mutate(workers=sys.argv[1])
    sys.exit(0 if report(list(results()), explained()) else 1)
