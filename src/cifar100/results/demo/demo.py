"""Run the page of a trained network until it is stopped. Read this first."""

from __future__ import annotations

from cifar100.errors import Stopped
from cifar100.results.demo.answers import NUM_CLASSES, Answerer
from cifar100.results.demo.content import Content, of_exported, of_run
from cifar100.results.demo.server import MAX_FILE_BYTES, DemoServer
from cifar100.results.exported.onnx_network import ExportedNetwork
from cifar100.results.report.rendering.templates import template
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import TrainedNetwork
from cifar100.terminal import say, temporary_line


def run_demo(network: TrainedNetwork | ExportedNetwork, run: RunFolder | None, server: DemoServer) -> None:
    """Print the address of the page, serve it, and answer pictures until a signal.

    Args:
        network: what answers.
        run: its folder; None for an exported file.
        server: not yet serving.

    Raises:
        UserError: a file of the run is damaged.
        KeyboardInterrupt: the usual end.
    """
    with temporary_line("preparing the page ..."):
        if isinstance(network, ExportedNetwork):
            content = of_exported(network)
        else:
            assert run is not None
            content, network = of_run(run, network)
        page = render_page(content)
    say(f"The demo of {content.name} is at {server.address}")
    say("Open it in a browser on this machine. Stop it with Ctrl-C.")
    try:
        server.serve(page, Answerer(network))
    except Stopped as stop:
        raise Stopped("The demo ended.", stop.signum) from None


def render_page(content: Content) -> str:
    """Return the HTML of the page."""
    page = template("demo.html.jinja", package=__package__)
    return page.render(content=content, max_file_bytes=MAX_FILE_BYTES, num_shown=NUM_CLASSES)
