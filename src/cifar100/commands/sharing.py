"""The commands that give a trained network to other people: `demo`, `write_space`, `publish`."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from cifar100.commands.loading import loading
from cifar100.commands.prediction import exported_network, load_model
from cifar100.config.arguments import check_flag
from cifar100.files.user_paths import user_path
from cifar100.runs.folder import find_run_folder

if TYPE_CHECKING:
    from cifar100.models import NetworkSource
    from cifar100.results.publishing.publish import Published


def demo(
    run: str | PathLike[str],
    *,
    port: int = 7860,
    checkpoint: str | PathLike[str] = "best",
    network: NetworkSource | None = None,
) -> None:
    """Try a trained network in the browser, with any picture.

    The page shows the most probable classes and where the network looked. Serves it on this machine until it is
    interrupted, and prints its address. The probabilities are calibrated if `evaluate(..., calibrate=True)` has fitted
    a temperature for these weights.

    Args:
        run: a run folder or experiment name. Or an exported .onnx file, a folder written by `publish` or
            `hf:USER/NAME`, which have neither maps nor examples.
        port: of the page; 0 for any free one.
        checkpoint: `best`, `last` or a path.
        network: see `evaluate`.

    Raises:
        UserError: the run or the port cannot be used.
        KeyboardInterrupt: it was stopped.
    """
    from cifar100.results.demo.server import DemoServer, check_port

    check_port(port)
    exported = exported_network(run, {"checkpoint": checkpoint != "best", "network": network})
    folder = None if exported is not None else find_run_folder(run)
    with DemoServer(port) as server:
        with loading():
            from cifar100.results.demo.demo import run_demo

        run_demo(exported or load_model(run, checkpoint=checkpoint, network=network), folder, server)


def write_space(
    run: str | PathLike[str],
    folder: str | PathLike[str],
    *,
    license: str | None = None,  # noqa: A002  # the name of the option
    checkpoint: str | PathLike[str] = "best",
    network: NetworkSource | None = None,
) -> list[Path]:
    """Write the folder of a Hugging Face Space that classifies pictures.

    It holds a gradio app, the network as ONNX, and a card, and needs neither this program nor torch. Examples are
    images of the data set, unless the data are custom.

    Args:
        run: a run folder or experiment name.
        folder: new or empty.
        license: of the weights, as the Hub names it, such as `mit`.
        checkpoint: `best`, `last` or a path.
        network: see `evaluate`.

    Returns:
        The paths of the files.

    Raises:
        UserError: a package, the run or the folder cannot be used. Nothing was written.
    """
    found = find_run_folder(run)
    with loading():
        from cifar100.results.demo.space import write_space

    return write_space(found, user_path(folder), license_name=license, checkpoint=checkpoint, network=network)


def publish(
    run: str | PathLike[str],
    *,
    to: str | PathLike[str],
    license: str | None = None,  # noqa: A002
    private: bool = False,
    checkpoint: str | PathLike[str] = "best",
    network: NetworkSource | None = None,
) -> Published:
    """Publish a trained network to a folder or to the Hugging Face Hub.

    Weights as safetensors and the whole network as ONNX, both checked against the run; names of the classes, settings
    and model card. `predict` takes the folder, or `hf:USER/NAME` on any machine. Image files, logs and paths of this
    machine are not published. The names of the run and of the classes are.

    Args:
        run: a run folder or experiment name.
        to: a new folder, or `hf:USER/NAME`. An existing repository gets a new commit.
        license: of the weights, as the Hub names it, such as `mit`.
        private: make a new repository private. Otherwise the account's setting decides; it is public by default.
        checkpoint: `best`, `last` or a path.
        network: see `evaluate`.

    Returns:
        The folder or the address, and the size of each file in bytes.

    Raises:
        UserError: a package, the run or the place cannot be used.
    """
    check_flag("private", private)
    found = find_run_folder(run)
    with loading():
        from cifar100.results.publishing.publish import publish

    return publish(found, to=to, license_name=license, private=private, checkpoint=checkpoint, network=network)
