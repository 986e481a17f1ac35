"""Altered checkpoints: `--resume` and `evaluate --checkpoint` end with one line, or work; never with a traceback."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from altered_checkpoints import HARMLESS, RESUME, WEIGHTS, alter
from small_runs import small_config, stop_at

from cifar100 import commands
from cifar100.errors import UserError
from cifar100.runs.folder import RunFolder


@pytest.fixture(scope="module")
def stopped(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of 45 steps that was stopped after 20; not to be changed."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run = stop_at(20, small_config(tiny_data, **{"optimization.ema_decay": 0.9}), name="run")
    return RunFolder(folder / run.path)


@pytest.fixture
def run(stopped: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy, with a single state."""
    shutil.copytree(stopped.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


pytestmark = pytest.mark.filterwarnings("ignore:Sparse:UserWarning", "ignore:.*quantiz.*", "ignore:.*nested.*")

Change = Callable[[dict[str, Any]], Any]


def one_line(action: Callable[[], object], about: str = "last.ckpt") -> str:
    with pytest.raises(UserError) as caught:
        action()
    message = str(caught.value)
    assert message.isprintable()
    assert any(part in message for part in (about, "config.yaml", "saved configuration", "data.batch_size"))
    assert len(message) < 700
    return message


def cases(changes: dict[str, Change], *, every: int) -> list[Any]:
    """All alterations; the quick tests take each `every`-th."""
    return [
        pytest.param(change, id=name, marks=() if position % every == 0 else pytest.mark.slow)
        for position, (name, change) in enumerate(changes.items())
    ]


@pytest.mark.parametrize("change", cases({**RESUME, **WEIGHTS}, every=3))
def test_an_altered_state_is_not_resumed(change: Change, run: RunFolder) -> None:
    before = {path.name: path.read_bytes() for path in run.path.iterdir() if path.suffix in (".json", ".log")}
    alter(run.checkpoints / "last.ckpt", change)
    one_line(lambda: commands.train(resume=run.path))
    after = {path.name: path.read_bytes() for path in run.path.iterdir() if path.name in before}
    assert {name for name in before if before[name] != after[name]} <= {"status.json"}


@pytest.mark.parametrize("change", cases(WEIGHTS, every=2))
@pytest.mark.parametrize("which", ["best.ckpt", "last.ckpt"])
def test_altered_weights_are_not_evaluated(change: Change, which: str, run: RunFolder) -> None:
    path = run.checkpoints / which
    alter(path, lambda content: content.update(averaged=False))  # the average would be used instead of the weights
    alter(path, change)
    one_line(lambda: commands.load_model(run.path, checkpoint=str(path)), which)


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_changes_no_weight_is_evaluated(change: Change, run: RunFolder) -> None:
    expected = commands.evaluate(run.path, split="validation").metrics
    alter(run.checkpoints / "best.ckpt", change)
    assert commands.evaluate(run.path, split="validation").metrics == expected


def test_an_unaltered_state_is_resumed(run: RunFolder) -> None:
    alter(run.checkpoints / "last.ckpt", lambda content: None)
    assert commands.train(resume=run.path).path == run.path
