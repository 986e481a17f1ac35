"""The house plan of docs/architecture.md, enforced: who may import whom, and what `--help` may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cifar100

SOURCE = Path(cifar100.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))

# The floors of the house; a room imports from lower floors and from its own.
FLOORS = [
    {"errors", "taxonomy"},
    {"atomic_files"},
    {"config", "config_check"},
    {"settings", "recipes", "run_folder"},
    {"run_status"},
    {"data", "models"},
    {"environment"},
    {"training"},
    {"results"},
    {"commands"},
    {"__main__"},
]


def imports(module: Path) -> set[str]:
    """Full names of everything a module imports, wherever the import stands."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(name: str) -> str:
    parts = name.split(".")
    return parts[1] if parts[0] == "cifar100" and len(parts) > 1 else ""


def floor(name: str) -> int:
    return next((number for number, rooms in enumerate(FLOORS) if name in rooms), -1)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_dependencies_point_one_way(module: Path) -> None:
    own = module.relative_to(SOURCE).parts[0].removesuffix(".py")
    if own == "__init__":
        assert not {name for name in imports(module) if name.startswith("cifar100")}
        return
    assert floor(own) >= 0, f"{own} has no place in the house plan"
    for imported in map(room, imports(module)):
        if imported and imported != own and floor(imported) >= 0:
            assert floor(imported) <= floor(own), f"{module.name} imports from {imported}, a higher floor"
    if own in ("data", "models"):
        other = {"data": "models", "models": "data"}[own]
        assert other not in map(room, imports(module))


@pytest.mark.parametrize(
    "module", [*SOURCE.glob("models/*.py"), SOURCE / "data/augment.py"], ids=lambda path: path.name
)
def test_networks_and_augmentation_know_nothing_of_lightning(module: Path) -> None:
    assert not {name for name in imports(module) if name.partition(".")[0] in ("lightning", "pytorch_lightning")}


def test_there_is_no_room_for_everything() -> None:
    assert not {module.name for module in MODULES} & {"utils.py", "helpers.py", "common.py", "misc.py"}


HEAVY = ("torch", "lightning", "albumentations", "cv2", "matplotlib", "numpy")


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["recipes"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        f"import sys; sys.argv = ['cifar100', *{arguments!r}]\n"
        "from cifar100.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
