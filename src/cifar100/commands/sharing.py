"""The commands that give a trained network to other people: `demo`, `write_space`."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

from cifar100.commands.loading import loading
from cifar100.commands.results import exported_network, load_model
from cifar100.runs.folder import find_run_folder

if TYPE_CHECKING:
    from cifar100.models import NetworkSource


def demo(
    run: str | PathLike[str],
    *,
    port: int = 7860,
    checkpoint: str | PathLike[str] = "best",
    network: NetworkSource | None = None,
) -> None:
    """Try a trained network in the browser: drop a picture, see the classes and where it looked.

    Serves a page on this machine until it is interrupted, and says its address. The probabilities are calibrated if
    `evaluate(..., calibrate=True)` has fitted a temperature for these weights.

    Args:
        run: a run folder or an experiment's name, or an exported .onnx file, which has neither maps nor examples.
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
