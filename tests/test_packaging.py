"""What a person installs: versions, locks, and a README whose commands are those of the program."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import cifar100
from cifar100.cli.main import COMMANDS, build_parser

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAINTENANCE = (ROOT / "docs" / "maintenance.md").read_text(encoding="utf-8")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DEPENDENCIES = {requirement.name: requirement for requirement in map(Requirement, PROJECT["project"]["dependencies"])}
EXTRAS = {
    requirement.name
    for requirements in PROJECT["project"].get("optional-dependencies", {}).values()
    for requirement in map(Requirement, requirements)
}
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


@pytest.mark.parametrize("version", ["2.6.2", "2.6.3"])
def test_the_malicious_releases_of_lightning_are_shut_out(version: str) -> None:
    assert not DEPENDENCIES["lightning"].specifier.contains(version)


def test_albumentations_stays_at_its_last_mit_release() -> None:
    assert str(DEPENDENCIES["albumentations"].specifier) == "==2.0.8"
    assert "albumentationsx" not in DEPENDENCIES


def imported_distributions() -> set[str]:
    found: set[str] = set()
    for module in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    distributions = metadata.packages_distributions()
    third_party = found - set(sys.stdlib_module_names) - {"cifar100"}
    return {canonicalize_name(distribution) for name in third_party for distribution in distributions[name]}


def test_the_dependencies_are_what_the_package_imports() -> None:
    loaded_by_name = {
        "tensorboard",  # by Lightning's TensorBoardLogger
        "onnxscript",  # by torch.onnx.export
        *("sqlalchemy", "alembic"),  # by MLflow, for its local store
        "psycopg",  # by SQLAlchemy, for sweeps
    }
    assert imported_distributions() | loaded_by_name == set(DEPENDENCIES) | EXTRAS


def test_the_version_and_its_date_are_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert PROJECT["project"]["version"] == cifar100.__version__ == citation["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.findall(r"^## \[(\d[\d.]*)\] - (\S+)$", changelog, re.MULTILINE)[0]
    assert newest == (cifar100.__version__, str(citation["date-released"]))


def test_contributing_fits_on_a_screen() -> None:
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 48


def test_extras_are_installed_for_the_tests() -> None:
    assert {Requirement(text).name for text in PROJECT["dependency-groups"]["dev"]} >= EXTRAS


def test_ci_runs_every_supported_python() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    versions = re.search(r"^for version in ([\d. ]+); do$", script, re.MULTILINE)
    assert versions
    supported = [
        f"3.{minor}" for minor in range(30) if f"3.{minor}" in SpecifierSet(PROJECT["project"]["requires-python"])
    ]
    assert versions[1].split() == supported
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    jobs = [job["strategy"]["matrix"] for job in workflow["jobs"].values()]
    assert [matrix["python"] for matrix in jobs] == [supported, supported]


@pytest.mark.parametrize("name", DEPENDENCIES)
def test_what_is_installed_lies_in_the_stated_range(name: str) -> None:
    assert DEPENDENCIES[name].specifier.contains(metadata.version(name), prereleases=True)


@pytest.mark.parametrize("name", DEPENDENCIES)
def test_the_lock_holds_every_dependency_in_its_range_with_hashes(name: str) -> None:
    entries = re.findall(rf"^{re.escape(name.lower())}==([^ ]+)[^\n]*\\\n +--hash=sha256:", LOCK, re.MULTILINE)
    assert entries
    assert all(DEPENDENCIES[name].specifier.contains(version) for version in entries)


def renewal_command() -> list[str]:
    """Return the command of docs/maintenance.md that writes the lock to its standard output."""
    found = re.search(r"^(uv export .*) > requirements\.lock$", MAINTENANCE, re.MULTILINE)
    assert found
    return shlex.split(found[1])


def test_the_lock_holds_what_uv_sync_resolves(tmp_path: Path) -> None:
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)  # without a uv.lock, whose versions uv would prefer
    exported = subprocess.run(renewal_command(), cwd=tmp_path, capture_output=True, text=True, check=False)
    if exported.returncode != 0 and re.search(
        r"error sending request|Failed to fetch|dns error|network was disabled", exported.stderr
    ):
        pytest.skip("the package index cannot be reached")
    assert exported.returncode == 0, exported.stderr
    assert exported.stdout == LOCK, "requirements.lock is not what uv sync resolves; see docs/maintenance.md"


def test_the_lock_names_no_host() -> None:
    assert "://" not in LOCK
    assert "--index-url" not in LOCK


def test_uv_lock_is_not_committed() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    assert "uv.lock" not in tracked
    assert "uv.lock" in (ROOT / ".gitignore").read_text().split()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", PROJECT["tool"]["uv"]["exclude-newer"])


def readme_commands() -> list[str]:
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", README, re.DOTALL)).replace("\\\n", " ")
    return re.findall(r"\bcifar100 (?!==)([a-z-]+.*?)(?:\s+#.*)?$", blocks, re.MULTILINE)


@pytest.mark.parametrize("command", readme_commands())
def test_a_command_in_the_readme_is_understood(command: str) -> None:
    name, *arguments = shlex.split(command)
    build_parser(name).parse_args(arguments)


def test_the_readme_names_every_command_and_the_first_two_lines_of_a_newcomer() -> None:
    for name in COMMANDS:
        assert f"| `{name}` |" in README
    assert "pip install uv && uv run cifar100 train --recipe quickstart" in README
    assert "pip install uv && uv run pytest -n 2 " in README
    assert len(readme_commands()) >= 6


def test_ci_calls_the_test_command_of_the_readme() -> None:
    assert "\npip install uv && uv run pytest -n 2\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.skipif(os.name != "posix", reason="a script of bash")
@pytest.mark.parametrize("failing", ["pip", "uv"])
def test_ci_fails_if_any_part_of_the_test_command_fails(failing: str) -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    found = re.search(r"^# The README's test command.*?\n\n", script, re.MULTILINE | re.DOTALL)
    assert found
    stubs = "pip() { :; }; uv() { :; }; " + f"{failing}() {{ return 3; }}"
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", f"{stubs}\n{found[0]}"], check=False)
    assert done.returncode == 3
