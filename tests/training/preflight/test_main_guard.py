from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

START = "from cifar100.training.preflight.main_guard import require_main_guard\n"

UNGUARDED = {
    "plain": f"{START}require_main_guard()\n",
    "function": f"{START}\ndef train():\n    require_main_guard()\n\ntrain()\n",
    "condition": f"{START}if True:\n    require_main_guard()\n",
    "helper": "import helper\n",
}

GUARDED = {
    "guard": f'{START}if __name__ == "__main__":\n    require_main_guard()\nprint("done")\n',
    "reversed": f'{START}if "__main__" == __name__ and True:\n    require_main_guard()\nprint("done")\n',
    "function": (
        f'{START}def main():\n    require_main_guard()\n    print("done")\n\nif __name__ == "__main__":\n    main()\n'
    ),
}


def run(folder: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, input=text, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", UNGUARDED)
def test_a_script_without_a_guard_ends_with_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(UNGUARDED[name])
    (tmp_path / "helper.py").write_text(UNGUARDED["plain"])
    for how in (["script.py"], ["-m", "script"]):
        ended = run(tmp_path, *how)
        assert ended.returncode == 2
        assert ended.stderr.startswith("cifar100: this script starts processes, and each of them imports it again; put")
        assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("name", GUARDED)
def test_a_script_with_a_guard_goes_on(name: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(GUARDED[name])
    for how in (["script.py"], ["-m", "script"]):
        assert run(tmp_path, *how).stdout == "done\n"


def test_code_that_no_process_imports_needs_no_guard(tmp_path: Path) -> None:
    text = UNGUARDED["plain"] + 'print("done")\n'
    assert run(tmp_path, "-c", text).stdout == "done\n"
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text(text)
    assert run(tmp_path, "-m", "package").stdout == "done\n"


@pytest.mark.parametrize(
    "overrides",
    [
        {"training.devices": 2, "training.accelerator": "cpu"},
        pytest.param(
            {"data.pipeline": "images", "data.num_workers": 2, "augmentation.flip": "random"}, marks=pytest.mark.slow
        ),
    ],
    ids=["devices", "workers"],
)
def test_train_without_a_guard_leaves_no_run_folder(
    overrides: dict[str, object], tiny_data: Path, tmp_path: Path
) -> None:
    given = {"data.root": str(tiny_data), "data.source": "generated", **overrides}
    script = f"from cifar100 import load_config, train\ntrain(load_config('quickstart', overrides={given!r}))\n"
    (tmp_path / "script.py").write_text(script)
    ended = run(tmp_path, "script.py")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "this script starts processes" in ended.stderr
    assert not (tmp_path / "logs").exists()


def test_a_script_from_standard_input_gets_one_sentence(tmp_path: Path) -> None:
    script = "from cifar100.training.preflight.main_guard import require_main_guard\nrequire_main_guard()\n"
    completed = subprocess.run(
        [sys.executable, "-"], input=script, capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert completed.returncode == 2
    assert completed.stderr.startswith("cifar100: a script from standard input cannot start processes")
    assert len(completed.stderr.splitlines()) == 1
