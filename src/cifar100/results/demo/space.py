"""Write the folder of a Hugging Face Space: a public page that needs neither this program nor torch."""

from __future__ import annotations

import base64
from os import PathLike
from pathlib import Path

import torch

from cifar100.files.atomic import write_atomically
from cifar100.files.new_folder import check_is_new, new_folder
from cifar100.foreign_text import printable
from cifar100.models import NetworkSource
from cifar100.results.demo.content import Content, of_run
from cifar100.results.export.card import facts_of, model_card
from cifar100.results.export.export import export
from cifar100.results.exported.extra import need
from cifar100.results.publishing.card import check_license, with_header
from cifar100.results.report.rendering.templates import template
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import load_trained

GRADIO = "6.31.0"
"""The version with which the page is tested; the Space gets it."""

REQUIREMENTS = (f"gradio=={GRADIO}", "numpy>=2", "onnxruntime>=1.23", "pillow>=11")

MAX_TITLE = 60
NUM_EXAMPLES = 8


def write_space(
    run: RunFolder,
    folder: Path,
    *,
    license_name: str | None = None,
    checkpoint: str | PathLike[str] = "best",
    network: NetworkSource | None = None,
) -> list[Path]:
    """Write a new folder, and return the paths of its files.

    The network is an ONNX file that was checked against the run's, with its fitted temperature if there is one. Images
    of the data set are examples only if they are not custom ones, which may be private.

    Args:
        run: the run folder.
        folder: new or empty.
        license_name: of the weights, as the Hub names it.
        checkpoint: `best`, `last` or a path.
        network: see `load_trained`.

    Raises:
        UserError: a package, the run or the folder cannot be used. Nothing was written.
    """
    check_license(license_name)
    check_is_new(folder, option="--space")
    need("onnx", "onnxruntime", "onnxscript", to="write a Space")
    trained = load_trained(run, checkpoint, network=network, device=torch.device("cpu"))
    content, trained = of_run(run, trained)
    facts = facts_of(trained, run, precision="float32")
    is_calibrated = trained.temperature != 1
    with new_folder(folder, option="--space") as partial:
        model = partial / "model.onnx"
        export(run, output=model, checkpoint=checkpoint, calibrated=is_calibrated, network=network)
        for name, text in {
            "app.py": template("app.py.jinja", package=__package__).render() + "\n",
            "requirements.txt": "\n".join(REQUIREMENTS) + "\n",
            "README.md": with_header(_header(content, license_name), model_card(facts)),
            ".gitattributes": "*.onnx filter=lfs diff=lfs merge=lfs -text\n",
        }.items():
            write_atomically(partial / name, text.encode())
        _write_examples(content, partial / "examples")
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _header(content: Content, license_name: str | None) -> dict[str, object]:
    """Return what the Hub reads to run the Space."""
    return {
        "title": printable(content.name, max_length=MAX_TITLE),
        "sdk": "gradio",
        "sdk_version": GRADIO,
        "app_file": "app.py",
        "pinned": False,
        **({"license": license_name} if license_name else {}),
    }


def _write_examples(content: Content, folder: Path) -> None:
    if content.info.origin == "custom" or not content.examples:
        return
    folder.mkdir()
    for number, example in enumerate(content.examples[:NUM_EXAMPLES], 1):
        png = base64.b64decode(example.picture.partition(",")[2])
        write_atomically(folder / f"example{number}.png", png)
