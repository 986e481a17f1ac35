"""Where the trials of a sweep are kept: an SQLite file in its folder, or a PostgreSQL server for several machines.

The address of a server may hold a password. It is passed from process to process, and never written or shown.
"""

from __future__ import annotations

import logging
import random
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifar100.errors import UserError
from cifar100.foreign_text import reason
from cifar100.process.packages import need

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

DATABASE = "sweep.db"

SECONDS_TO_CONNECT = 10
SECONDS_FOR_A_LOCK = 60
"""Time that SQLite waits for another worker."""

NUM_TRIES = 8
"""To create the tables, while other machines create them."""

_DRIVER = "postgresql+psycopg"


@dataclass(frozen=True, kw_only=True)
class Address:
    """The place of the trials."""

    folder: Path
    """Of the sweep."""

    url: str | None = None
    """Of a PostgreSQL server; None: SQLite in the folder."""

    def __repr__(self) -> str:
        """The place as it may be shown: without a password."""
        return self.shown()

    def shown(self) -> str:
        """Return the place without a password."""
        if self.url is None:
            return str(self.folder / DATABASE)
        from sqlalchemy.engine import make_url

        return make_url(self.url).set(drivername="postgresql").render_as_string(hide_password=True)

    def database_url(self) -> str:
        """Return the address for SQLAlchemy, with the password."""
        from sqlalchemy.engine import URL, make_url

        if self.url is None:
            return str(URL.create("sqlite", database=str(self.folder / DATABASE)))
        return make_url(self.url).set(drivername=_DRIVER).render_as_string(hide_password=False)


def check_packages(*, server: bool) -> None:
    """Check that the packages of the extra `sweep` are installed, before anything slow.

    Raises:
        UserError: one is missing.
    """
    need("optuna", *["psycopg"] * server, to="run a sweep", extra="sweep")


def check_url(url: Any) -> str:
    """Return the address of a server, if it is one of PostgreSQL.

    Raises:
        UserError: it is not. Never shows it: it may hold a password.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    expected = "expected postgresql://USER@HOST/DATABASE, with the password in ~/.pgpass or PGPASSWORD."
    try:
        parsed = make_url(str(url).replace("postgres://", "postgresql://", 1))
    except (ArgumentError, ValueError):
        raise UserError(f"--storage is not a database URL; {expected}") from None
    if parsed.get_backend_name() != "postgresql":
        raise UserError(f"--storage is a {parsed.drivername} URL, which is not supported; {expected}")
    return parsed.render_as_string(hide_password=False)


@contextmanager
def opened(
    address: Address,
    *,
    heartbeat_seconds: int | None = None,
    when_stale: Callable[[Study, FrozenTrial], object] | None = None,
) -> Iterator[RDBStorage]:
    """Connect to the trials for a block.

    Args:
        address: their place.
        heartbeat_seconds: time between two heartbeats of a running trial; None: it sends none.
        when_stale: called with a study and a trial that has sent no heartbeat for three such times.

    Raises:
        UserError: the place cannot be reached, or is something else; also in the block.
    """
    is_server = address.url is not None
    options = {"connect_timeout": SECONDS_TO_CONNECT} if is_server else {"timeout": SECONDS_FOR_A_LOCK}
    with _errors_as_user_errors(address):
        storage = _connected(
            address.database_url(),
            engine_kwargs={"connect_args": options, "pool_pre_ping": is_server},
            heartbeat_interval=heartbeat_seconds,
            grace_period=None if heartbeat_seconds is None else 3 * heartbeat_seconds,
            heartbeat_stale_trial_callback=when_stale,
        )
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()


def _connected(url: str, **options: Any) -> RDBStorage:
    """Connect, and create the tables if they are missing. Several machines may do so in the same moment."""
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import DatabaseError

    for remaining in reversed(range(NUM_TRIES)):
        try:
            return RDBStorage(url, **options)
        except DatabaseError as error:
            if "already exists" not in str(error) or remaining == 0:
                raise
            time.sleep(random.uniform(0.2, 1.0))
    raise AssertionError


@contextmanager
def _errors_as_user_errors(address: Address) -> Iterator[None]:
    """Turn what a database raises into a `UserError`, and keep Optuna from printing."""
    import optuna
    from optuna.exceptions import ExperimentalWarning, StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    except (SQLAlchemyError, StorageInternalError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "compatible" not in str(error):
            raise
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        detail = reason(_without_statement(cause or error))
        raise UserError(
            f"the storage {address.shown()} cannot be used ({_without_password(detail, address)}); make sure that "
            "it exists and belongs to this sweep, then run the same command again."
        ) from None


def _without_statement(error: BaseException) -> BaseException:
    """Return the database's own error behind SQLAlchemy's, which shows the SQL statement."""
    return getattr(error, "orig", None) or error


def _without_password(text: str, address: Address) -> str:
    from sqlalchemy.engine import make_url

    password = None if address.url is None else make_url(address.url).password
    return text.replace(str(password), "***") if password else text
