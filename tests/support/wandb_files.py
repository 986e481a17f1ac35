"""Read what W&B has logged offline: protocol buffers in blocks of 32 KiB, as in the logs of LevelDB."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK, FILE_HEADER, HEADER = 32768, 7, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4

SECONDS_TO_WRITE = 60
"""W&B writes in a process of its own, which may still be busy when `finish` returns."""


def records(file: Path) -> Iterator[Any]:
    """Yield the records of a `.wandb` file that are complete. A header has a checksum, the length and the kind of the
    part.
    """
    from wandb.proto import wandb_internal_pb2

    content = file.read_bytes()
    assert content[:4] in (b":W&B", b"")
    position, parts = FILE_HEADER, b""
    while position + HEADER <= len(content):
        left = BLOCK - position % BLOCK
        if left < HEADER:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + HEADER])
        position += HEADER
        if position + length > len(content):
            return
        parts = (b"" if kind in (FULL, FIRST) else parts) + content[position : position + length]
        position += length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record


def logged(folder: Path) -> dict[str, Any]:
    """Return the identity, project, config, history, summary and artifacts of an offline run that has ended."""
    found: dict[str, Any] = {"config": {}, "history": [], "summary": {}, "artifacts": {}}
    for record in _all_records(folder):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found |= {"id": record.run.run_id, "project": record.run.project, "name": record.run.display_name}
            found["config"] |= _values(record.run.config.update)
        elif kind == "config":
            found["config"] |= _values(record.config.update)
        elif kind == "history":
            found["history"].append(_values(record.history.item))
        elif kind == "summary":
            found["summary"] |= _values(record.summary.update)
        elif kind == "request" and record.request.WhichOneof("request_type") == "log_artifact":
            _add_artifact(found, record.request.log_artifact.artifact)
        elif kind == "artifact":
            _add_artifact(found, record.artifact)
    return found


def _all_records(folder: Path) -> list[Any]:
    """Wait for the record of the end, and return all records."""
    (file,) = folder.glob("*.wandb")
    begun = time.monotonic()
    while True:
        found = list(records(file))
        if found and found[-1].WhichOneof("record_type") == "exit":
            return found
        assert time.monotonic() < begun + SECONDS_TO_WRITE, f"{file} has no end after {SECONDS_TO_WRITE} s"
        time.sleep(0.05)


def _add_artifact(found: dict[str, Any], artifact: Any) -> None:
    found["artifacts"][artifact.name] = sorted(entry.path for entry in artifact.manifest.contents)


def _values(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
