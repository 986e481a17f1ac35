"""An exported network in onnxruntime. Imports neither torch nor what needs it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cifar100.data.dataset_info import DatasetInfo
from cifar100.data.given_images import GivenImages, pixel_batches
from cifar100.errors import UserError
from cifar100.files.user_paths import user_path
from cifar100.foreign_text import reason
from cifar100.process.processors import usable_processors
from cifar100.results.exported.extra import need
from cifar100.results.exported.facts import KEY, Facts, parse_facts
from cifar100.results.exported.untrusted_onnx import metadata, read_onnx
from cifar100.runs.folder import LOGS

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

SUFFIX = ".onnx"
WEIGHTS_SUFFIX = ".safetensors"
"""Of an exported file that holds weights alone; see `safetensors_network`, which needs torch."""

OTHER_SUFFIXES = (".pt2", ".pt")
"""Of exported files that only other programs read."""

INPUT, OUTPUT = "images", "probabilities"


@dataclass(frozen=True, kw_only=True)
class ExportedNetwork:
    """A network from an exported ONNX file. Call it with images, as a `TrainedNetwork`, also from several threads."""

    path: Path
    facts: Facts
    session: InferenceSession

    @property
    def info(self) -> DatasetInfo:
        """The description of the training data."""
        return self.facts.info

    def __call__(self, images: GivenImages) -> Any:
        """Return the probabilities of images, float32 (N, num_classes); see `load_model`.

        A tensor gives a tensor on its device, everything else an array.
        """
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(images, torch.Tensor):
            return torch.from_numpy(self.probabilities(images)).to(images.device)
        return self.probabilities(images)

    def probabilities(self, images: GivenImages) -> NDArray[np.float32]:
        """Return the probabilities of images, float32 (N, num_classes), as an array."""
        batches = pixel_batches(images, side=self.info.image_size)
        return np.concatenate([np.zeros((0, self.info.num_classes), np.float32), *map(self.run, batches)])

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the graph, which resizes by itself, on one batch.

        images: uint8 (N, 3, H, W), RGB. Returns the probabilities, float32 (N, num_classes).

        Raises:
            UserError: the file computes something else.
        """
        try:
            (found,) = self.session.run([OUTPUT], {INPUT: np.ascontiguousarray(images)})
        except Exception as error:  # onnxruntime has a class for each kind of failure
            raise UserError(f"{self.path} cannot be run ({reason(error)}); export it again.") from error
        expected = (len(images), self.info.num_classes)
        if found.shape != expected or not np.isfinite(found).all():
            raise UserError(
                f"{self.path} returns {found.shape}, expected finite probabilities {expected}; export it again."
            )
        probabilities: NDArray[np.float32] = found
        return probabilities


def exported_file(run: str | PathLike[str]) -> Path | None:
    """Return the path if a user has named an exported ONNX file instead of a run, else None.

    Raises:
        UserError: it is an exported file of another format.
    """
    path = user_path(run)
    if _is_run(path):
        return None
    if weights_file(path) is not None:
        raise UserError(f"{path} holds weights, for load_model and predict; pass a run or an exported {SUFFIX} file.")
    if path.suffix.lower() in OTHER_SUFFIXES and path.is_file():
        raise UserError(f"{path} is for other programs; pass a run or an exported {SUFFIX} file.")
    return path if path.suffix.lower() == SUFFIX else None


def weights_file(run: str | PathLike[str]) -> Path | None:
    """Return the path if a user has named a safetensors file instead of a run, else None."""
    path = user_path(run)
    return path if path.suffix.lower() == WEIGHTS_SUFFIX and path.is_file() and not _is_run(path) else None


def _is_run(path: Path) -> bool:
    return any((folder / "config.yaml").is_file() for folder in (path, LOGS / path))


def load_exported(path: Path) -> ExportedNetwork:
    """Load an exported ONNX file.

    Raises:
        UserError: it cannot be read, does more than compute, or is not from `cifar100 export`.
    """
    need("onnx", "onnxruntime", to=f"read {path}")
    content, model = read_onnx(path)
    found = metadata(model).get(KEY)
    if found is None:
        raise UserError(
            f"{path} has no entry {KEY!r} in its metadata, which lists the classes and the training data; export the "
            "run again: cifar100 export RUN"
        )
    try:
        facts = parse_facts(found)
        session = open_session(content)
        _check_signature(session, facts.info.num_classes)
    except Exception as error:  # onnxruntime has a class for each kind of failure
        raise UserError(f"{path} cannot be used ({reason(error)}); export it again: cifar100 export RUN") from error
    return ExportedNetwork(path=path, facts=facts, session=session)


def open_session(content: bytes) -> InferenceSession:
    """Return a session of onnxruntime on the CPU that uses this process's processors and prints nothing."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_processors()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _check_signature(session: InferenceSession, num_classes: int) -> None:
    inputs = [(entry.name, entry.type, len(entry.shape)) for entry in session.get_inputs()]
    outputs = [(entry.name, entry.type) for entry in session.get_outputs()]
    if inputs != [(INPUT, "tensor(uint8)", 4)] or outputs != [(OUTPUT, "tensor(float)")]:
        raise ValueError(f"it maps {inputs} to {outputs}, expected uint8 {INPUT} (N, 3, H, W) to float {OUTPUT}")
    (num_outputs,) = session.get_outputs()[0].shape[-1:]
    if num_outputs != num_classes:
        raise ValueError(f"it has {num_outputs} outputs, but the names of {num_classes:,} classes")
