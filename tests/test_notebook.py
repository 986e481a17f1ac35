from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "explore.ipynb"


def test_the_notebook_runs_from_top_to_bottom(tiny_data: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    second = [cell for cell in notebook.cells if cell.cell_type == "code"][1]
    assert 'root, source = home / "dataset_shapes100", "generated"' in second.source
    second.source = second.source.replace("dataset_shapes100", tiny_data.as_posix())
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 5
    assert any("iframe" in output.get("data", {}).get("text/html", "") for output in outputs)
    assert (tmp_path / "logs" / "experiment1" / "metrics.json").is_file()


def test_the_notebook_is_committed_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]
