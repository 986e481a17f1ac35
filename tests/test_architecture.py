"""The layout of docs/architecture.md, enforced: who may import whom, and what `--help` may cost."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import cifar100

SOURCE = Path(cifar100.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))

LAYERS = (
    {"errors", "taxonomy", "metrics"},
    {"foreign_text", "process"},
    {"terminal"},
    {"files"},
    {"config"},
    {"settings", "devices", "recipes"},
    {"long_steps", "plots"},
    {"data", "models"},
    {"environment"},
    {"runs"},
    {"training", "results"},
    {"search"},
    {"commands"},
    {"cli"},
    {"__main__"},
)
"""Top-level modules and packages, lowest first. A module imports from lower layers and from its own package only."""

LIGHTNING_ALLOWED = ("training", "data/loading/datamodule.py")
"""What may import Lightning, below `src/cifar100`."""


def imports(module: Path) -> set[str]:
    """Full names of everything a module imports when it runs, wherever the import stands."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def package_of(name: str) -> str:
    """`config` for cifar100.config.Config, `data` for cifar100.data.sampler; empty for what is not ours."""
    parts = name.split(".")
    return parts[1] if parts[0] == "cifar100" and len(parts) > 1 else ""


def layer(name: str) -> int:
    return next((number for number, members in enumerate(LAYERS) if name in members), -1)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_dependencies_point_one_way(module: Path) -> None:
    own = module.relative_to(SOURCE).parts[0].removesuffix(".py")
    if own == "__init__":
        return  # the public API, loaded lazily
    assert layer(own) >= 0, f"{own} has no place in LAYERS"
    for imported in filter(None, map(package_of, imports(module))):
        if imported == own or imported.startswith("__"):
            continue
        assert layer(imported) >= 0, f"{module.name} imports {imported}, which has no place in LAYERS"
        assert layer(imported) < layer(own), f"{module.name} imports from {imported}, which is not in a lower layer"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_only_training_and_the_datamodule_import_lightning(module: Path) -> None:
    if module.relative_to(SOURCE).as_posix().startswith(LIGHTNING_ALLOWED):
        return
    assert not {name for name in imports(module) if name.partition(".")[0] in ("lightning", "pytorch_lightning")}


def test_the_drawing_shows_the_imports_of_the_code() -> None:
    script = Path(__file__).parents[1] / "docs" / "draw_architecture.py"
    spec = importlib.util.spec_from_file_location("draw_architecture", script)
    assert spec
    assert spec.loader
    drawing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawing)
    shown = drawing.described(drawing.DRAWING.read_text(encoding="utf-8"))
    assert shown == drawing.description(drawing.package_imports()), "run: uv run python docs/draw_architecture.py"
    diamond = {"a": frozenset("bc"), "b": frozenset("c"), "c": frozenset()}
    assert drawing.shortest(diamond) == {"a": frozenset("b"), "b": frozenset("c"), "c": frozenset()}
    assert drawing.levels(diamond) == {"a": 2, "b": 1, "c": 0}


def test_no_module_is_named_for_everything() -> None:
    assert not {module.name for module in MODULES} & {"utils.py", "helpers.py", "common.py", "misc.py"}


MAX_LINES = 300


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_a_module_is_short(module: Path) -> None:
    assert len(module.read_text(encoding="utf-8").splitlines()) < MAX_LINES, "divide it"


MAY_PRINT = ("terminal.py",)
"""The only modules that write to the terminal; nothing else may fail because the terminal does."""


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_only_the_terminal_prints(module: Path) -> None:
    if module.relative_to(SOURCE).as_posix() in MAY_PRINT:
        return
    calls = [node.func for node in ast.walk(ast.parse(module.read_text("utf-8"))) if isinstance(node, ast.Call)]
    assert not {ast.unparse(call) for call in calls} & {"print", "Console", "sys.stdout.write", "sys.stderr.write"}


MAY_OPEN = {
    "config/declarations.py": "the package's own source",
    "data/folder/image_files.py": "images have their own rules",
    "data/folder/splits.py": "writes through `replacing`",
    "data/packed_arrays.py": "writes through `replacing`",
    "process/memory.py": "files of the kernel, which have no size",
    "process/processors.py": "/proc/cpuinfo, which is no file",
    "runs/weight_files.py": "reads through `open_regular`",
    "training/finetuning/features.py": "writes through `replacing`",
    "runs/checkpoints.py": "writes through `open_new`, reads through `open_regular`",
    "results/report/rendering/inline.py": "writes figures and images into memory",
    "results/export/quantize.py": "onnxruntime quantizes from file to file, in a temporary folder",
    "results/export/safetensors_file.py": "writes into memory",
    "results/export/torch_file.py": "writes into memory",
    "results/saved_evaluation.py": "writes arrays into memory",
    "results/saved_probabilities.py": "writes arrays into memory",
    "settings.py": "the package's own recipes",
    "terminal.py": "/dev/null",
    "training/preflight/main_guard.py": "the script that runs",
    "plots/style.py": "writes through `replacing`",
}
"""The only modules outside of `files/` that open a file themselves, and why they may. Others use `files.regular`, which
never blocks and bounds what is read, and `files.atomic`, which never writes through a link."""

OPENING = {
    *("open", "read_text", "read_bytes", "write_text", "write_bytes", "touch", "savefig", "tofile", "fromfile"),
    *("load_npy", "save", "savez", "savez_compressed", "loadtxt", "memmap", "extractall", "extract", "ZipFile"),
}
"""Names of functions and methods that open a file by its path."""

HARMLESS = {"Image.open", "gzip.GzipFile", "tarfile.open", "archive.open", "logger.save", "os.open"}
"""Functions of these names that take an open file, or none."""


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_files_are_opened_in_one_place(module: Path) -> None:
    name = module.relative_to(SOURCE).as_posix()
    if name.startswith("files/") or name in MAY_OPEN:
        return
    calls = [node.func for node in ast.walk(ast.parse(module.read_text("utf-8"))) if isinstance(node, ast.Call)]
    found = {ast.unparse(call) for call in calls if ast.unparse(call).rpartition(".")[2] in OPENING}
    found |= {ast.unparse(call) for call in calls if ast.unparse(call) in ("np.load", "numpy.load", "torch.load")}
    ours = {f"{name}" for name in ("read_text", "read_bytes")}  # of `files.regular`
    assert not found - HARMLESS - ours


OPEN_PACKAGES = ("data/augmentation", "models")
"""Packages that hold one file for each thing of a kind, found by the program; they may grow."""


def test_no_package_has_more_than_ten_modules() -> None:
    for package in {module.parent for module in MODULES} - {SOURCE / name for name in OPEN_PACKAGES}:
        modules = [module for module in package.glob("*.py") if module.name not in ("__init__.py", "__main__.py")]
        assert len(modules) <= 10, f"{package.relative_to(SOURCE)} has {len(modules)} modules; divide it"


HEAVY = ("torch", "lightning", "albumentations", "cv2", "matplotlib", "numpy", "jinja2", "captum")


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["recipes"], ["models"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        f"import sys; sys.argv = ['cifar100', *{arguments!r}]\n"
        "from cifar100.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
