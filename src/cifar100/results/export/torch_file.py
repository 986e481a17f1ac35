"""Export to torch's own formats: a program of `torch.export` (`.pt2`), or TorchScript (`.pt`).

Prefer `.pt2`. PyTorch has deprecated TorchScript; it is for programs that already load it, such as those in C++.
"""

from __future__ import annotations

import io
import logging
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.export import Dim, ExportedProgram

from cifar100.results.export.deployed import DeployedNetwork
from cifar100.results.exported.facts import CARD_KEY, KEY


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporters, which warn about their own internals and about packages that are not needed."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def program(network: DeployedNetwork) -> ExportedProgram:
    """Return the graph of a network for any number of images of any size. It names no file of this machine."""
    with quiet():
        exported = torch.export.export(network, (_example(),), dynamic_shapes=({0: Dim("batch", min=1), **_SIDES},))
    for module in exported.graph_module.modules():
        for node in getattr(module, "graph", exported.graph).nodes:
            node.meta.pop("stack_trace", None)  # paths of source files
    return exported


def pt2_bytes(network: DeployedNetwork, metadata: dict[str, str]) -> bytes:
    """Return a file for `torch.export.load(file).module()`, with the metadata as extra files."""
    buffer = io.BytesIO()
    with quiet():
        torch.export.save(program(network), buffer, extra_files=_as_files(metadata))
    return buffer.getvalue()


def torchscript_bytes(network: DeployedNetwork, metadata: dict[str, str]) -> bytes:
    """Return a file for `torch.jit.load`, with the metadata as extra files."""
    buffer = io.BytesIO()
    with quiet(), torch.inference_mode():
        traced = torch.jit.trace(network, (_example(),))  # type: ignore[no-untyped-call]
        torch.jit.save(traced, buffer, _extra_files=_as_files(metadata))
    return _without_source_paths(buffer)


def _without_source_paths(archive: io.BytesIO) -> bytes:
    """Return a TorchScript archive without its notes for debugging, which name source files of this machine."""
    kept = io.BytesIO()
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(kept, "w", zipfile.ZIP_STORED) as target:
        for entry in source.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                target.writestr(entry, source.read(entry))
    return kept.getvalue()


def _as_files(metadata: dict[str, str]) -> dict[str, str]:
    return {f"{KEY}.json": metadata[KEY], f"{CARD_KEY}.md": metadata[CARD_KEY]}


def _example() -> torch.Tensor:
    return torch.zeros(2, 3, 40, 48, dtype=torch.uint8)


_SIDES = {2: Dim("height", min=1), 3: Dim("width", min=1)}
