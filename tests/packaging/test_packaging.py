"""The folders stand at the top of this repository and are imported under one name (docs/reuse.md).

That must hold for everybody: the editable install, the wheel, and pyinfra in a project with folders of the same names.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = Path(__file__).parent / "foreign"
PASSED_OVER = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist", "tests", "docs", "bench")

# What the script `pyinfra` does. It isn't run with -m or -c, since those put the working directory first on the path.
PYINFRA = "import sys\nfrom pyinfra_cli.main import main\nsys.exit(main())\n"


def folders_in(text: str) -> set[str]:
    return set(re.findall(r'^  "keydb_runbooks\.(\w+)",$', text, re.MULTILINE))


@dataclass(frozen=True)
class Installed:
    """This project as somebody has it: which Python, and which script is pyinfra."""

    python: Path
    script: Path

    def run(self, *arguments: str, where: Path) -> str:
        """What a program printed; a failure shows it."""
        command: list[str | Path] = [self.python, *arguments]
        clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(command, cwd=where, env=clean, text=True, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def pyinfra(self, *arguments: str, where: Path) -> str:
        return self.run(str(self.script), *arguments, where=where)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: setuptools would pick up what an earlier build left in build/."""
    place = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, place / "source", ignore=PASSED_OVER)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", place, place / "source"], check=True, timeout=60)
    (built,) = place.glob("*.whl")
    return built


@pytest.fixture(scope="module", params=["editable", "wheel"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """This project as the tests run it, and as a wheel in an environment of its own."""
    place = tmp_path_factory.mktemp("installed")
    script = place / "pyinfra"
    script.write_text(PYINFRA)
    if request.param == "editable":
        return Installed(Path(sys.executable), script)
    python = new_environment(place / "venv")
    wheel: Path = request.getfixturevalue("wheel")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--no-compile", str(wheel)], check=True, timeout=60)
    return Installed(python, script)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Another project, with facts/ and operations/ of its own."""
    shutil.copytree(FOREIGN, tmp_path / "foreign", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "foreign"


def new_environment(place: Path) -> Path:
    """A virtual environment that sees the dependencies of this one, but not its editable install: a folder that a
    .pth file names is searched, the .pth files in it are not read."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True, timeout=60)
    (packages,) = (place / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "bin" / "python"


def test_every_folder_with_modules_to_import_is_in_the_packages_and_has_types() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    makefile = re.search(r"^FOLDERS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert makefile is not None
    here = {file.parent.name for file in ROOT.glob("*/__init__.py")} - {"demo", "tests", "bench"}
    mapped = dict(re.findall(r'^"keydb_runbooks\.(\w+)" = "(\w+)"$', text, re.MULTILINE))
    assert folders_in(text) == here == set(makefile[1].split())
    assert mapped == {name: name for name in here}


def test_the_wheel_has_everything_that_it_needs_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = next(archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
        metadata = next(archive.read(name).decode() for name in names if name.endswith("METADATA"))
    folders = folders_in((ROOT / "pyproject.toml").read_text())
    sources = {
        f"keydb_runbooks/{file.relative_to(ROOT)}"
        for folder in folders
        for pattern in ("*.py", "*.json", "*.j2", "*.sh", "py.typed")
        for file in (ROOT / folder).rglob(pattern)
    }
    typed = {f"keydb_runbooks/{folder}/py.typed" for folder in folders}
    assert {name for name in names if ".dist-info/" not in name} == sources
    assert typed < names
    assert {"keydb_runbooks/schemas/inventory.json", "keydb_runbooks/templates/keydb.conf.j2"} < names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert "sandbox = keydb_runbooks.connectors.sandbox:SandboxConnector" in entry_points
    assert "keydb-runbooks = keydb_runbooks.operations.command:main" in entry_points
    assert "License-Expression: MIT" in metadata


def test_another_project_finds_facts_and_the_sandbox_by_name(installed: Installed, project: Path) -> None:
    fact = ("fact", "keydb_runbooks.facts.keydb.KeydbProcess", "pid_file=/nonexistent")
    told = installed.pyinfra("@local,@sandbox/one", *fact, where=project)
    assert '"@local": 0' in told
    assert '"one": 0' in told


def test_another_projects_deploy_uses_its_own_folders_and_ours(installed: Installed, project: Path) -> None:
    first = installed.pyinfra("inventory.py", "deploy.py", "-y", where=project)
    assert (project / "umbrella").exists(), first
    written = project / "made" / "monitoring.auth"
    assert written.read_text() == 'AUTH monitoring "not a secret of monitoring"\n'
    assert written.stat().st_mode & 0o777 == 0o600
    assert "not a secret" not in first


def test_the_decisions_import_without_pyinfra_and_the_rest(installed: Installed, project: Path) -> None:
    script = project / "pure.py"
    script.write_text(
        "import sys\n"
        "from keydb_runbooks.runbooks import failover, rejoin, switchover\n"
        "print(sorted({'pyinfra', 'redis', 'jsonschema', 'kubernetes'} & set(sys.modules)))\n"
    )
    assert installed.run(str(script), where=project).strip() == "[]"


def test_templates_and_schema_are_found_where_they_were_installed(installed: Installed, project: Path) -> None:
    script = project / "data.py"
    script.write_text(
        "from keydb_runbooks.schemas import schema\n"
        "from keydb_runbooks import schemas, templates\n"
        "from importlib.resources import files\n"
        "print(schema()['$schema'], (files(templates) / 'keydb.conf.j2').is_file())\n"
    )
    assert installed.run(str(script), where=project).strip().endswith("/2020-12/schema True")
