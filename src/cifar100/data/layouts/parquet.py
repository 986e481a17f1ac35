"""Labelled images in parquet files, as on the Hugging Face Hub. Needs the extra `parquet` (pyarrow)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifar100.data.layouts.class_folders import Part
from cifar100.data.layouts.contained import ContainedImage, container_files, files_of_parts, label_text
from cifar100.data.layouts.tables import LABEL_COLUMNS, NAME_COLUMNS, SUPERCLASS_COLUMNS
from cifar100.errors import UserError
from cifar100.files.regular import open_regular
from cifar100.foreign_text import printable, reason
from cifar100.process.started import how_to_install

IMAGE_COLUMNS = ("img", "image", "images", "picture", "photo", "file", "bytes", "pixels")

MAX_GROUP_BYTES = 4 * 2**30
"""Of a row group, uncompressed: pyarrow reads it as a whole."""

_ROWS = 100
"""Images in memory at a time, beside the compressed row group."""


@dataclass(frozen=True)
class _Columns:
    image: str
    is_struct: bool
    label: str
    label_names: Sequence[str]
    superclass: str | None
    superclass_names: Sequence[str]


class ParquetFiles:
    """The labelled images of parquet files; a `Container`."""

    def __init__(self, path: Path) -> None:
        """Read the schemas of `path`, a file or a folder.

        Raises:
            UserError: pyarrow is missing, a file is damaged, or the columns are unknown.
        """
        self.files = container_files(path, ".parquet")
        self._parts = files_of_parts(self.files, below=path if path.is_dir() else path.parent)
        self._columns: dict[Path, _Columns] = {}
        counts: dict[Part, int] = {}
        for part, files in self._parts.items():
            for file in files:
                with _opened(file) as opened:
                    self._columns[file] = _find_columns(file, opened.schema_arrow)
                    counts[part] = counts.get(part, 0) + opened.metadata.num_rows
        self.counts: Mapping[Part, int] = counts

    @property
    def found(self) -> str:
        """What was found, as a phrase."""
        columns = self._columns[self.files[0]]
        return f"{_count(self.files)} (columns {printable(columns.image)}, {printable(columns.label)})"

    def images(self, part: Part) -> Iterator[ContainedImage]:
        """Yield the images of a split; see `Container`."""
        for file in self._parts.get(part, ()):
            yield from self._images_in(file)

    def _images_in(self, file: Path) -> Iterator[ContainedImage]:
        columns = self._columns[file]
        used = [columns.image, columns.label, *([columns.superclass] if columns.superclass else [])]
        row = 0
        with _opened(file) as opened:
            for batch in opened.iter_batches(batch_size=_ROWS, columns=used):
                for values in batch.to_pylist():
                    row += 1
                    yield _image(values, columns, f"{file} row {row}")


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """Open a parquet file, and turn what pyarrow raises into a `UserError`."""
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError(
            f"{file} is read with pyarrow, which is not installed; install it: {how_to_install('parquet')}"
        ) from error
    try:
        with open_regular(file) as source, pq.ParquetFile(source) as opened:
            groups = [opened.metadata.row_group(index) for index in range(opened.metadata.num_row_groups)]
            if any(group.total_byte_size > MAX_GROUP_BYTES for group in groups):
                raise UserError(
                    f"{file} has a row group of more than {MAX_GROUP_BYTES:,} bytes; write it in smaller row groups."
                )
            yield opened
    except UserError:
        raise
    except Exception as error:  # pyarrow raises several kinds for a damaged file
        raise UserError(f"{file} cannot be read as parquet ({reason(error)}); restore or remove it.") from error


def _find_columns(file: Path, schema: Any) -> _Columns:
    import pyarrow.types as kinds

    def holds_bytes(kind: Any) -> bool:
        return bool(kinds.is_binary(kind) or kinds.is_large_binary(kind))

    def holds_images(kind: Any) -> bool:
        return holds_bytes(kind) or (kinds.is_struct(kind) and kind.get_field_index("bytes") >= 0)

    by_lower = {name.lower(): name for name in reversed(schema.names)}
    images = [field.name for field in schema if holds_images(field.type)]
    preferred = [by_lower[name] for name in IMAGE_COLUMNS if by_lower.get(name) in images]
    label = next((by_lower[name] for name in (*LABEL_COLUMNS, *NAME_COLUMNS, "labels") if name in by_lower), None)
    for what, column, expected in (
        ("images", (preferred or images or [None])[0], "img or image, with the bytes of image files"),
        ("labels", label, ", ".join(LABEL_COLUMNS)),
    ):
        if column is None:
            shown = printable(", ".join(schema.names), max_length=100)
            raise UserError(f"{file} has no column of {what}; its columns are {shown}; expected {expected}.")
    assert label is not None
    image = (preferred or images)[0]
    superclass = next((by_lower[name] for name in SUPERCLASS_COLUMNS if name in by_lower), None)
    names = _names_of_labels(schema.metadata)
    return _Columns(
        image=image,
        is_struct=not holds_bytes(schema.field(image).type),
        label=label,
        label_names=names.get(label, ()),
        superclass=superclass,
        superclass_names=names.get(superclass or "", ()),
    )


def _names_of_labels(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """Return the class names of each column of numbers, which Hugging Face's `datasets` writes into the schema."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return {
            column: [str(name) for name in feature["names"]]
            for column, feature in features.items()
            if isinstance(feature, dict) and isinstance(feature.get("names"), list)
        }
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}


def _image(values: Mapping[str, Any], columns: _Columns, place: str) -> ContainedImage:
    content = values[columns.image]
    if columns.is_struct and content is not None:
        content = content["bytes"]
    if not content:
        raise UserError(f"{place} holds no image, only a path or nothing; expected the bytes of an image file.")
    label, name = _label(values[columns.label], columns.label_names, place)
    if columns.superclass is None:
        return ContainedImage(place, content, label, name)
    superclass, superclass_name = _label(values[columns.superclass], columns.superclass_names, place)
    return ContainedImage(place, content, label, name, superclass, superclass_name)


def _label(value: Any, names: Sequence[str], place: str) -> tuple[str, str]:
    """Return a label and its name, empty if it has none."""
    text = label_text(value, place)
    if not names or not isinstance(value, int):
        return text, ""
    if not 0 <= value < len(names):
        raise UserError(f"{place}: the label is {value}, expected 0 to {len(names) - 1}, the classes that are named.")
    return text, names[value]


def _count(files: Sequence[Path]) -> str:
    return "a parquet file" if len(files) == 1 else f"{len(files):,} parquet files"
