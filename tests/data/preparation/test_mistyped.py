from __future__ import annotations

import re
from pathlib import Path

import pytest
from custom_folder import make_custom

from cifar100.data.preparation.mistyped import announce_creation
from cifar100.data.prepare import ensure_prepared
from cifar100.errors import UserError


def test_a_new_folder_is_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    announce_creation(Path("dataset"), what="CIFAR-100")
    announce_creation(tmp_path, what="CIFAR-100")
    assert capsys.readouterr().out == ""
    announce_creation(tmp_path / "far/away", what="CIFAR-100")
    assert capsys.readouterr().out == f"{tmp_path / 'far/away'} does not exist: creating it for CIFAR-100\n"
    (tmp_path / "cifar_data").mkdir()
    announce_creation(Path("cifar_dta"), what="CIFAR-100")
    assert capsys.readouterr().out == "cifar_dta does not exist: creating it for CIFAR-100 (not cifar_data?)\n"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("kity/pets", "kitty/pets"),
        ("kity/pet", "kitty/pets"),
        ("kitty/petts", "kitty/pets"),
        ("kitty/pest", "kitty/pets"),
    ],
)
def test_a_mistyped_folder_anywhere_in_the_path_is_refused(
    given: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(path: str) -> str:
        return re.escape(str(Path(path)))

    make_custom(tmp_path / meant, train=4, test=0)
    (tmp_path / "kitt/others").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for root in (Path(given), tmp_path / given):
        with pytest.raises(UserError, match=f"{shown(given)} does not exist, but .*{shown(meant)} holds custom data"):
            ensure_prepared("download", root)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kitt", "kitty"]


def test_a_similar_folder_without_custom_data_is_only_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "kitty").mkdir()
    announce_creation(tmp_path / "kity/pets", what="CIFAR-100")
    assert f"creating it for CIFAR-100 (not {tmp_path / 'kitty/pets'}?)" in capsys.readouterr().out


def test_a_mistyped_name_of_custom_data_is_refused(tmp_path: Path) -> None:
    make_custom(tmp_path / "my_pets")
    message = f"{tmp_path / 'my_pet'} does not exist, but {tmp_path / 'my_pets'} holds"
    with pytest.raises(UserError, match=re.escape(message)):
        ensure_prepared("generated", tmp_path / "my_pet")
    assert not (tmp_path / "my_pet").exists()
