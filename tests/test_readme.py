"""Every shell and Python block of README, start page, tutorials and the page on Python is run, word by word.

The data are small, the runs short. A block that cannot be run here has a comment above it, `<!-- not run: REASON -->`,
as `NOT_RUN` lists it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from shells import shell

from cifar100.data.folder.release_images import prepare_release
from cifar100.data.sources.shapes100 import draw

ROOT = Path(__file__).parents[1]
SUPPORT = Path(__file__).parent / "support"

NOT_RUN = {
    "README": ["a server", "the tests themselves"],
    "architecture": ["a part of a file"] * 4,
    "cluster": ["SLURM", "SLURM", "the tests themselves"],
    "demo": ["a server", "a server", "network"],
    "extend": ["a part of a file"],
    "fine_tune": ["network", "network", "network"],
    "loggers": ["an account", "a server", "a server"],
    "own_images": ["files of yours"],
    "publish": ["an account", "an account"],
    "several_machines": ["several machines", "several machines", "several machines", "the tests themselves"],
    "sweep": ["a server"],
}
"""What each block that is not run needs, by document."""

LONG = pytest.mark.timeout(1800)
"""Each command of a block starts a process, in which the imports alone take seconds; other work may run as well."""

BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]*) -->\n)?```(?P<language>bash|python)\n(?P<script>.*?)```", re.DOTALL
)

SETTINGS_FILE = re.compile(r"^`(\w+\.yaml)`[^\n]*\n\n```yaml\n(.*?)```", re.DOTALL | re.MULTILINE)
"""A file whose name stands above its content."""

COMMAND = re.compile(
    r"^(?:uv run |uvx |sudo )?(?:cifar100|uv|pip|python|pytest|torchrun|cp|wandb|mlflow) ", re.MULTILINE
)
"""A line that is a command, not output."""

SHIMS = {
    "cifar100": 'exec "$PYTHON" -m cifar100 "$@"',
    "uv": 'if [ "$1" = run ]; then shift; exec "$@"; fi',
    "pip": "exit 0",  # all extras are installed for the tests
    "python": 'exec "$PYTHON" "$@"',
}
"""Programs that stand in for those of an installed package."""


def blocks(document: Path) -> list[tuple[str | None, str]]:
    """The blocks of a document: the reason not to run it or None, and the script for bash."""
    found = BLOCK.finditer(document.read_text(encoding="utf-8"))
    return [(each["reason"], as_shell(each["language"], each["script"])) for each in found]


def as_shell(language: str, script: str) -> str:
    """A block as a script for bash. A reader puts Python into a file."""
    if language == "bash":
        return script
    return f"cat > block.py <<'END_OF_BLOCK'\n{script}END_OF_BLOCK\npython block.py\n"


TUTORIALS = [
    ROOT / "docs" / "index.md",
    *sorted((ROOT / "docs" / "tutorials").glob("*.md")),
    ROOT / "docs" / "reference" / "python.md",
]
DOCUMENTS = [ROOT / "README.md", *TUTORIALS, ROOT / "docs" / "architecture.md"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a reader of the documentation has: data, photographs, and programs on the path."""
    prepare_release(draw(train_per_class=6, test_per_class=2), tmp_path / "dataset")
    shutil.copytree(tmp_path / "dataset", tmp_path / "dataset_shapes100")
    colours = {"cat": "red", "dog": "green", "bird": "blue"}
    for name, colour in colours.items():
        (tmp_path / "my_photos" / name).mkdir(parents=True)
        for number in range(12):
            image = Image.new("RGB", (40 + number, 40), colour)
            image.putpixel((number, number), (255, 255, 255))
            image.save(tmp_path / "my_photos" / name / f"{number}.jpg")
    shutil.copytree(tmp_path / "my_photos", tmp_path / "photos")
    for name in ("photo.jpg", "a.png", "b.jpg"):
        Image.open(tmp_path / "photos" / "cat" / "0.jpg").save(tmp_path / name)
    put_programs(tmp_path)
    return tmp_path


def put_programs(folder: Path) -> None:
    """Put the programs into a folder that `run` has on its path."""
    (folder / "bin").mkdir()
    for name, script in SHIMS.items():
        (folder / "bin" / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / "bin" / name).chmod(0o755)


def run(script: str, folder: Path) -> None:
    """Run a block as bash does, and stop at the first command that fails."""
    environment = os.environ | {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join([str(SUPPORT / "short_runs"), str(ROOT / "src")]),
        "OMP_NUM_THREADS": "1",
    }
    result = subprocess.run(
        [shell(), "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{script}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    assert "Traceback" not in result.stderr


@pytest.mark.slow
@LONG
def test_the_blocks_of_the_readme(folder: Path) -> None:
    for reason, script in blocks(ROOT / "README.md"):
        if reason is None:
            run(script, folder)
    assert (folder / "predictions.csv").read_text().count("\n") == 37
    assert (folder / "logs" / "pets" / "export" / "model.onnx").exists()
    assert (folder / "logs" / "pets" / "report.html").exists()


@pytest.mark.slow
@LONG
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_the_blocks_of_a_tutorial(tutorial: Path, folder: Path) -> None:
    scripts = [script for reason, script in blocks(tutorial) if reason is None]
    if any("experiment1" in script for script in scripts):
        run("cifar100 train --recipe laptop --experiment experiment1 --data.validation_fraction 0.1", folder)
    for name, content in SETTINGS_FILE.findall(tutorial.read_text(encoding="utf-8")):
        (folder / name).write_text(content)
    run("\n".join(scripts), folder)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_a_block_that_is_not_run_is_listed_with_its_reason(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    reasons = [reason for reason, _ in blocks(document) if reason is not None]
    assert reasons == NOT_RUN.get(document.stem, [])
    assert text.count("not run:") == len(reasons), "a comment stands directly above its block"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_a_block_of_commands_is_a_shell_block(document: Path) -> None:
    unlabelled = re.findall(r"^```\n(.*?)^```", document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert [block for block in unlabelled if COMMAND.search(block)] == []


def test_no_other_document_has_python() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    with_python = {path for path in documents if re.search(r"^``` ?py", path.read_text(encoding="utf-8"), re.MULTILINE)}
    assert with_python <= set(DOCUMENTS)


def test_a_block_of_python_that_fails_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text('```python\nprint("$HOME")\n```\n\n```python\nraise SystemExit(3)\n```\n')
    (works, fails) = [script for _, script in blocks(tmp_path / "page.md")]
    put_programs(tmp_path)
    run(works, tmp_path)
    with pytest.raises(AssertionError, match="SystemExit"):
        run(fails, tmp_path)


def test_a_block_that_fails_is_noticed(folder: Path) -> None:
    with pytest.raises(AssertionError, match="unknown command"):
        run("cifar100 nothing", folder)
