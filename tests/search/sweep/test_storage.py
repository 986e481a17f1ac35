"""The place of the trials: its address, and what may be shown of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cifar100.errors import UserError
from cifar100.process import packages
from cifar100.search.sweep.storage import Address, check_packages, check_url, opened


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_a_password_is_used_but_never_shown(scheme: str) -> None:
    address = Address(folder=Path("logs/sweeps/a"), url=check_url(f"{scheme}://me:s3cret@host:5433/db"))
    assert address.database_url() == "postgresql+psycopg://me:s3cret@host:5433/db"
    assert address.shown() == repr(address) == "postgresql://me:***@host:5433/db"


@pytest.mark.parametrize("url", ["mysql://me:s3cret@host/db", "sqlite:///file", "s3cret", ""])
def test_another_kind_of_address_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(UserError, match=r"expected postgresql://USER@HOST/DATABASE") as it:
        check_url(url)
    assert "s3cret" not in str(it.value)


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "sweep.db").write_text("something else, longer than the header of a database " * 20)
    with (
        pytest.raises(UserError, match=r"sweep.db cannot be used \(file is not a database\)"),
        opened(Address(folder=tmp_path)),
    ):
        pass


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name == "psycopg" else object())
    check_packages(server=False)
    with pytest.raises(UserError, match=r'psycopg is not installed.*pip install "cifar100\[sweep\]"'):
        check_packages(server=True)
