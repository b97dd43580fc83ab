"""A live copy of a study's trials in an Optuna storage, for ``optuna-dashboard``."""

from __future__ import annotations

import importlib.util
import json
import random
import shlex
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from autodpq.errors import AutoDPQError
from autodpq.records.schema import TrialLine

METRICS = ["valid_auc", "bytes"]
DIRECTIONS = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
ATTRIBUTES = ("number", "valid_logloss", "parameters", "bytes", "seconds", "epochs", "attempts", "error", "plan")
EXPECTED = "sqlite:///FILE, postgresql://USER@HOST/NAME, journal:FILE or FILE.log"
OPENINGS = 6

# A search must not hang on a dashboard's database: seconds to connect, milliseconds until sent data is acknowledged.
_POSTGRESQL = {"connect_timeout": 5, "tcp_user_timeout": 10_000}
_CONNECT: dict[str, dict[str, int]] = {
    "psycopg": _POSTGRESQL,
    "psycopg2": _POSTGRESQL,
    "pymysql": {"connect_timeout": 5},
    "mysqldb": {"connect_timeout": 5},
    "mysqlconnector": {"connection_timeout": 5},
}
_PACKAGES = {
    "psycopg": "'psycopg[binary]'",
    "psycopg2": "psycopg2-binary",
    "pymysql": "pymysql",
    "mysqldb": "mysqlclient",
    "mysqlconnector": "mysql-connector-python",
}


class _JournalFile:
    """An Optuna journal in a file.

    Args:
        path: The file; made if it is missing, its folder is not.
    """

    def __init__(self, path: Path) -> None:
        # Optuna's lock beside a relative path points elsewhere, so that one that a killed process left is never freed.
        self.path = path.absolute()
        self.text = str(path)
        self.secrets: tuple[str, ...] = ()
        _check_file(self.path, self.text)

    def connect(self) -> BaseStorage:
        """The storage, opened anew."""
        return JournalStorage(JournalFileBackend(str(self.path)))


class _Database:
    """A database that SQLAlchemy reaches.

    Args:
        url: As :class:`optuna.storages.RDBStorage` takes it.
    """

    def __init__(self, url: str) -> None:
        try:
            self.url = make_url(url)
        except (ArgumentError, ValueError):
            shown = "the URL" if "@" in url or "pass" in url.lower() else repr(url)
            raise AutoDPQError(f"--mirror: {shown} names no storage; expected {EXPECTED}") from None
        if self.url.drivername == "postgresql" and importlib.util.find_spec("psycopg2") is None:
            # Which driver SQLAlchemy takes unless told differs between its versions.
            self.url = self.url.set(drivername="postgresql+psycopg")
        try:
            dialect = self.url.get_dialect()
        except (ArgumentError, ImportError):
            raise AutoDPQError(
                f"--mirror: unknown kind of storage {self.url.drivername!r}; expected {EXPECTED}"
            ) from None
        if dialect.is_async:
            raise AutoDPQError(f"--mirror: Optuna cannot use the asynchronous driver {self.url.drivername!r}")
        # What the query holds may be a password too.
        self.text = self.url.set(query={}).render_as_string(hide_password=True)
        values = [str(value) for name, value in self.url.query.items() if "pass" in name.lower()]
        words = [word for word in (self.url.password, *values) if word]
        self.secrets = tuple({form for word in words for form in (word, quote(word, safe=""))})
        self.driver = dialect.driver
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if "@" in (self.url.host or ""):
            raise AutoDPQError("--mirror: the URL has more than one @; write one within a password as %40")
        if self.is_sqlite and not str(self.url.database).startswith("file:"):
            if self.url.database in (None, "", ":memory:"):
                raise AutoDPQError("--mirror: no one else sees a database in memory; name a file, as sqlite:///FILE")
            _check_file(Path(str(self.url.database)), self.text)

    def connect(self) -> BaseStorage:
        """The storage, opened anew; its tables are made if they are missing.

        Raises:
            AutoDPQError: The driver is not installed.
        """
        given = {name: value for name, value in _CONNECT.get(self.driver, {}).items() if name not in self.url.query}
        url = self.url.render_as_string(hide_password=False)
        for opening in range(1, OPENINGS + 1):
            # Trials end minutes apart: a connection that stays open would be a stale one after a restart.
            engine = {"poolclass": NullPool, "connect_args": given}
            try:
                return RDBStorage(url, engine_kwargs=engine)
            except ImportError:
                package = _PACKAGES.get(self.driver)
                hint = f"pip install {package}" if package else "install it"
                raise AutoDPQError(f"--mirror: {self.text} needs the driver {self.driver}; {hint}") from None
            except (SQLAlchemyError, StorageInternalError) as error:
                # Others may be making the same tables at this moment.
                if opening == OPENINGS or not self._may_be_race(error):
                    raise
                time.sleep(random.random() * 0.5)
        raise AssertionError("the last opening returns or raises")

    def _may_be_race(self, error: BaseException) -> bool:
        if isinstance(error, StorageInternalError) and error.__cause__ is not None:
            error = error.__cause__
        return isinstance(error, IntegrityError | ProgrammingError) or (
            self.is_sqlite and isinstance(error, OperationalError)
        )


def _check_file(path: Path, text: str) -> None:
    if not path.parent.is_dir():
        raise AutoDPQError(f"--mirror: {text}: there is no folder {path.parent}")
    if path.is_dir():
        raise AutoDPQError(f"--mirror: {text} is a folder; name a file")


def _place(url: str) -> _JournalFile | _Database:
    """Where a URL leads."""
    if url.startswith("journal:"):
        path = url.removeprefix("journal:")
        if path.startswith("//") and not path.startswith("///"):
            raise AutoDPQError(f"--mirror: {url!r} names a host; write journal:FILE, or journal:///FOLDER/FILE")
        path = path.removeprefix("//")
        if not path:
            raise AutoDPQError("--mirror: 'journal:' names no file; write journal:FILE")
        return _JournalFile(Path(path))
    if url.endswith(".log") and "://" not in url:
        return _JournalFile(Path(url))
    return _Database(url)


class _Outages:
    """Warns once from when a storage begins to fail until it works again.

    Args:
        place: Where the storage is.
        warn: Told in one line.
    """

    def __init__(self, place: _JournalFile | _Database, warn: Callable[[str], None]) -> None:
        self._place = place
        self._warn = warn
        self._failing = False

    @contextmanager
    def tolerated(self) -> Iterator[None]:
        """Warns of what the storage raises; what a person can mend is passed on."""
        try:
            yield
        except AutoDPQError:
            raise
        except Exception as error:  # drivers, SQLAlchemy, alembic and damaged files raise whatever they like
            reason = _reason(error, self._place.secrets)
            self.begin(f"--mirror: {self._place.text}: {reason}; trials are copied once it works again")
        else:
            self._failing = False

    def begin(self, message: str) -> None:
        """Warns, unless it has been warned already."""
        if not self._failing:
            self._warn(message)
        self._failing = True


def _reason(error: BaseException, secrets: Sequence[str]) -> str:
    """What happened, in one line without passwords: the error that Optuna's and SQLAlchemy's wrap."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error) or type(error).__name__
    for secret in secrets:
        text = text.replace(secret, "***")
    return textwrap.shorten(text, 300)


class Mirror:
    """Copies trials into an Optuna storage as they end; ``optuna-dashboard`` shows them while a search runs.

    Args:
        url: What :class:`optuna.storages.RDBStorage` takes (a plain ``postgresql://`` uses psycopg 3 where psycopg2 is
            not installed), or a journal: ``journal:FILE``, ``journal:///FOLDER/FILE`` or a path that ends in ``.log``.
        warn: Told in one line, once per outage, that the storage fails.

    Attributes:
        address: What ``optuna-dashboard`` takes to show the storage, without passwords.

    Raises:
        AutoDPQError: The storage cannot be opened.
    """

    def __init__(self, url: str, warn: Callable[[str], None]) -> None:
        self._place = _place(url)
        self._outages = _Outages(self._place, warn)
        self.address = self._place.text
        try:
            self._place.connect()
        except AutoDPQError:
            raise
        except Exception as error:
            reason = _reason(error, self._place.secrets)
            raise AutoDPQError(f"--mirror: {self.address} cannot be opened: {reason}") from None

    def open(
        self, name: str, run: str, attributes: Mapping[str, Any], choices: Mapping[str, Sequence[str]]
    ) -> MirroredRun:
        """Makes or finds a run's Optuna study.

        A storage that fails now is warned of, and asked again when trials are copied.

        Args:
            name: The Optuna study's name.
            run: The run's id, kept as user attribute ``run``.
            attributes: Further user attributes of the Optuna study.
            choices: Per field, every choice that a plan may hold, as text; always the same for a run.

        Raises:
            AutoDPQError: The storage holds a study of that name that is not this run's.
        """
        mirrored = MirroredRun(self._place, self._outages, name, {"run": run, **attributes}, choices)
        with self._outages.tolerated():
            mirrored.find()
        return mirrored


class MirroredRun:
    """The Optuna study of one run; made by :meth:`Mirror.open`."""

    def __init__(
        self,
        place: _JournalFile | _Database,
        outages: _Outages,
        name: str,
        attributes: Mapping[str, Any],
        choices: Mapping[str, Sequence[str]],
    ) -> None:
        self._place = place
        self._outages = outages
        self._name = name
        self._attributes = attributes
        # Optuna demands one distribution per parameter, so it holds what any plan may.
        self._distributions: dict[str, BaseDistribution] = {
            field: CategoricalDistribution(tuple(texts)) for field, texts in choices.items() if len(texts) > 1
        }
        self._study: optuna.Study | None = None
        self._copied: set[int] = set()

    def copy(self, lines: Sequence[TrialLine]) -> None:
        """Adds the trials that the storage does not have yet, in the order of their numbers.

        Where the storage fails it warns, once per outage, and the next call copies what is missing: measured trials
        must not be lost because a dashboard's database restarts.

        Args:
            lines: All lines of the run's ``trials.jsonl`` so far.
        """
        if all(line.number in self._copied for line in lines):
            return
        try:
            with self._outages.tolerated():
                study = self.find() if self._study is None else self._still_there(self._study)
                for line in sorted(lines, key=lambda line: line.number):
                    if line.number not in self._copied:
                        study.add_trial(self._trial(line))
                        self._copied.add(line.number)
                return
        except AutoDPQError as error:
            self._outages.begin(f"{error}; trials are not copied")
        # Asked anew next time: a trial may be there although its commit was not confirmed.
        self._study = None
        self._copied = set()

    def find(self) -> optuna.Study:
        """Makes or finds the study, and learns which trials it has.

        Raises:
            AutoDPQError: It is not this run's.
        """
        study = optuna.create_study(
            storage=self._place.connect(), study_name=self._name, directions=DIRECTIONS, load_if_exists=True
        )
        trials, known = study.get_trials(deepcopy=False), study.user_attrs
        # Without an id it is one that was just made, by this call or by one that was killed after it.
        is_new = "run" not in known and not trials and study.directions == DIRECTIONS
        if not is_new and known.get("run") != self._attributes["run"]:
            raise AutoDPQError(
                f"--mirror: {self._place.text} holds a study {self._name!r} of another run; name another folder with "
                f"--out, or delete that study: optuna delete-study --storage URL --study-name {shlex.quote(self._name)}"
            )
        for key, value in self._attributes.items():
            if known.get(key) != value:
                study.set_user_attr(key, value)
        if study.metric_names != METRICS:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                study.set_metric_names(METRICS)
        self._study = study
        self._copied = {trial.user_attrs["number"] for trial in trials if "number" in trial.user_attrs}
        return study

    def _still_there(self, study: optuna.Study) -> optuna.Study:
        """The study, if it is: Optuna's adding would try a failing storage again and again for seconds."""
        try:
            run = study.user_attrs.get("run")
        except KeyError:
            run = None
        if run != self._attributes["run"]:
            raise LookupError(f"the study {self._name!r} was deleted there")
        return study

    def _trial(self, line: TrialLine) -> FrozenTrial:
        plan, values = json.loads(line.plan), line.model_dump()
        trial = create_trial(
            state=STATES[line.state],
            values=[values[metric] for metric in METRICS] if line.state == "complete" else None,
            params={field: plan[field] for field in self._distributions},
            distributions=self._distributions,
            user_attrs={name: values[name] for name in ATTRIBUTES if values[name] is not None},
            intermediate_values=dict(enumerate(line.valid_aucs, 1)),
        )
        # Lines tell how long, not when; a trial that is copied as it ends ended now.
        trial.datetime_complete = datetime.now()
        trial.datetime_start = trial.datetime_complete - timedelta(seconds=sum(line.seconds.values()))
        return trial
