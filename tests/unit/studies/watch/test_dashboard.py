"""Mirrors into real storages: an SQLite file, a journal file, and a PostgreSQL server where one is installed."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages._rdb.storage import _VersionManager
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import TrialState
from support.forked import forking
from support.patience import PATIENCE

from autodpq.errors import AutoDPQError
from autodpq.records.schema import TrialLine
from studies.watch.dashboard import Mirror

pytestmark = pytest.mark.filterwarnings("error::optuna.exceptions.ExperimentalWarning")

NAME, RUN, ATTRIBUTES = "my study/shop/deepfm/random/0", "0123abcd", {"strategy": "random", "seed": 0}
CHOICES = {
    "user": ["full", "others", "dpq(8,2)", "dpq(16,4)"],
    "item": ["full", "others", "dpq(8,2)"],
    "device": ["full"],
}
PASSWORD = "s:cr/t@%!"


def line(number: int, state: str = "complete", **values: Any) -> TrialLine:
    plan = {name: texts[number % len(texts)] for name, texts in CHOICES.items()}
    valid_aucs = (0.5 + 0.1 / (number + 1), 2 / 3 + number / 100, 0.1 + 0.2)
    row = {
        "number": number,
        "plan": json.dumps(plan),
        "state": state,
        "valid_auc": max(valid_aucs) if state == "complete" else None,
        "valid_logloss": 0.5 - number / 1000 if state == "complete" else None,
        "parameters": 1000 + number,
        "bytes": 4000 + 7 * number,
        "seconds": {"search": 1.25, "pretrain": 60.5 + number},
        "epochs": 3,
        "error": "out of memory" if state == "failed" else None,
        "valid_aucs": valid_aucs,
        "attempts": 1 + number % 2,
    }
    return TrialLine.model_validate({**row, **values})


def lines_of(count: int) -> list[TrialLine]:
    return [line(number, ("complete", "pruned", "complete", "failed")[number % 4]) for number in range(count)]


@pytest.fixture(autouse=True, scope="module")
def _migrations_are_read_once() -> Iterator[None]:
    """Optuna reads all of them, as modules, whenever a storage is opened, to learn the name of the last."""
    head, known = _VersionManager.get_head_version, []

    def once(manager: _VersionManager) -> str:
        if not known:
            known.append(head(manager))
        return known[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_VersionManager, "get_head_version", once)
        yield


class Server:
    """A throwaway PostgreSQL server.

    Args:
        programs: Folder of initdb and pg_ctl.
        folder: An empty one of the server's own.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs = programs
        self.folder = folder
        # The server refuses to run as root.
        self.owner: dict[str, Any] = {}
        if os.geteuid() == 0:
            self.owner = {"user": "nobody", "extra_groups": []}
            shutil.chown(folder, "nobody")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        password = folder / "password"
        password.write_text(PASSWORD)
        self._call(
            "initdb", "-N", "-E", "UTF8", "--locale=C", "-U", "tester", "-A", "scram-sha-256", "--pwfile=password"
        )

    def _call(self, program: str, *arguments: str) -> None:
        log = self.folder / "log"
        command = [str(self.programs / program), "-D", str(self.folder / "data"), *arguments]
        with log.open("a") as file:
            done = subprocess.run(command, cwd=self.folder, stdout=file, stderr=file, timeout=PATIENCE, **self.owner)
        assert done.returncode == 0, log.read_text()

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        self._call("pg_ctl", "-w", "-o", options, "start")

    def stop(self) -> None:
        self._call("pg_ctl", "-w", "-m", "immediate", "stop")

    def empty_database(self) -> str:
        """Empties the database and returns its URL, whose driver is to be chosen."""
        import psycopg

        url = f"postgresql://tester:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/postgres"
        with psycopg.connect(url) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        return url


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    found = shutil.which("initdb")  # Debian keeps it off the path
    programs = [Path(found)] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("no PostgreSQL server is installed (no initdb)")
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    try:
        server = Server(programs[-1].parent, folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def database(server: Server) -> str:
    return server.empty_database()


@pytest.fixture(params=["sqlite", "journal", pytest.param("postgresql", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("database"))
    return f"sqlite:///{tmp_path}/study.db" if request.param == "sqlite" else f"journal://{tmp_path}/study.journal"


def storage_of(url: str) -> BaseStorage:
    """The storage as others open it."""
    if "://" not in url or url.startswith("journal:"):
        return JournalStorage(JournalFileBackend(url.removeprefix("journal://")))
    return RDBStorage(url.replace("postgresql:", "postgresql+psycopg:"))


def read(url: str, name: str = NAME) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=storage_of(url))


def numbers(url: str, name: str = NAME) -> list[int]:
    """The trials' numbers in the order of Optuna's own."""
    return [trial.user_attrs["number"] for trial in sorted(read(url, name).trials, key=lambda trial: trial.number)]


def no_warning(message: str) -> None:
    raise AssertionError(message)


def mirror(url: str, warn: Callable[[str], None] = no_warning) -> Mirror:
    return Mirror(url, warn)


def test_study_has_two_named_objectives_and_tells_its_run(url: str) -> None:
    mirror(url).open(NAME, RUN, ATTRIBUTES, CHOICES)
    study = read(url)
    assert study.directions == [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    assert study.metric_names == ["valid_auc", "bytes"]
    assert study.user_attrs == {"run": RUN, **ATTRIBUTES}
    assert study.trials == []


def test_trials_arrive_live_and_in_order(url: str) -> None:
    run, lines = mirror(url).open(NAME, RUN, ATTRIBUTES, CHOICES), lines_of(6)
    for count in range(1, 4):
        run.copy(lines[:count])
        assert numbers(url) == list(range(count))
    run.copy(lines[::-1])
    run.copy(lines)
    assert numbers(url) == [0, 1, 2, 3, 4, 5]
    assert [trial.number for trial in read(url).trials] == [0, 1, 2, 3, 4, 5]


def test_resumed_mirror_copies_what_is_missing_once(url: str) -> None:
    lines = lines_of(5)
    mirror(url).open(NAME, RUN, ATTRIBUTES, CHOICES).copy(lines[:3])
    before = read(url).trials
    for count in (2, 3, 5):
        resumed = mirror(url).open(NAME, RUN, {**ATTRIBUTES, "host": "two"}, CHOICES)
        resumed.copy(lines[:count])
        assert numbers(url) == list(range(max(count, 3)))
    assert read(url).trials[:3] == before
    assert read(url).user_attrs == {"run": RUN, **ATTRIBUTES, "host": "two"}


def test_a_trial_says_what_its_line_says(url: str) -> None:
    lines = lines_of(4)
    mirror(url).open(NAME, RUN, ATTRIBUTES, CHOICES).copy(lines)
    trials = read(url).trials
    assert [trial.state for trial in trials] == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.COMPLETE,
        TrialState.FAIL,
    ]
    for trial, line_ in zip(trials, lines, strict=True):
        expected = line_.model_dump()
        plan = json.loads(expected["plan"])
        assert trial.params == {"user": plan["user"], "item": plan["item"]}
        assert trial.distributions == {name: CategoricalDistribution(tuple(CHOICES[name])) for name in ("user", "item")}
        values = [expected["valid_auc"], expected["bytes"]]
        assert trial.values == (values if expected["state"] == "complete" else None)
        assert trial.intermediate_values == dict(zip((1, 2, 3), expected["valid_aucs"], strict=True))
        names = {"number", "parameters", "bytes", "seconds", "epochs", "attempts", "plan"}
        names |= {"complete": {"valid_logloss"}, "failed": {"error"}}.get(expected["state"], set())
        assert trial.user_attrs == {name: expected[name] for name in names}
        assert trial.duration is not None
        assert trial.duration.total_seconds() == pytest.approx(sum(expected["seconds"].values()), abs=1e-5)
        assert trial.datetime_complete is not None and abs(trial.datetime_complete.timestamp() - time.time()) < PATIENCE


def test_pareto_front_is_that_of_the_lines(url: str) -> None:
    points = [(0.70, 500), (0.72, 900), (0.71, 900), (0.65, 300), (0.64, 400), (0.80, 2000), (0.79, 100_000)]
    lines = [line(number, valid_auc=auc, bytes=size) for number, (auc, size) in enumerate(points)]
    lines.append(line(7, "pruned", bytes=1))
    mirror(url).open(NAME, RUN, ATTRIBUTES, CHOICES).copy(lines)
    front = {
        number
        for number, (auc, size) in enumerate(points)
        if not any(other != (auc, size) and other[0] >= auc and other[1] <= size for other in points)
    }
    assert front == {0, 1, 3, 5}
    assert {trial.user_attrs["number"] for trial in read(url).best_trials} == front


def test_study_of_another_run_is_refused_and_left_alone(url: str) -> None:
    mirror(url).open(NAME, RUN, ATTRIBUTES, CHOICES).copy(lines_of(2))
    with pytest.raises(AutoDPQError, match=f"a study '{NAME}' of another run; .*--out.*optuna delete-study") as caught:
        mirror(url).open(NAME, "other", ATTRIBUTES, CHOICES)
    assert f"--study-name '{NAME}'" in str(caught.value) and "\n" not in str(caught.value)
    assert read(url).user_attrs["run"] == RUN and numbers(url) == [0, 1]
    mirror(url).open(f"{NAME}/other", "other", ATTRIBUTES, CHOICES).copy(lines_of(1))
    assert numbers(url, f"{NAME}/other") == [0]


def test_a_person_s_own_study_of_that_name_is_refused(url: str) -> None:
    storage = storage_of(url)
    optuna.create_study(study_name=NAME, storage=storage, direction="minimize")
    with pytest.raises(AutoDPQError, match="another run"):
        mirror(url).open(NAME, RUN, ATTRIBUTES, CHOICES)
    assert read(url).user_attrs == {}


def test_study_that_was_made_and_not_named_yet_is_taken(url: str) -> None:
    storage = storage_of(url)
    optuna.create_study(study_name=NAME, storage=storage, directions=["maximize", "minimize"])
    mirror(url).open(NAME, RUN, ATTRIBUTES, CHOICES).copy(lines_of(2))
    assert read(url).user_attrs["run"] == RUN and numbers(url) == [0, 1]


def test_study_that_is_deleted_meanwhile_is_warned_of_once_and_made_anew(url: str) -> None:
    warnings: list[str] = []
    run, lines = mirror(url, warnings.append).open(NAME, RUN, ATTRIBUTES, CHOICES), lines_of(4)
    run.copy(lines[:2])
    optuna.delete_study(study_name=NAME, storage=storage_of(url))
    run.copy(lines[:3])
    assert len(warnings) == 1 and f"the study '{NAME}' was deleted there" in warnings[0]
    run.copy(lines)
    assert numbers(url) == [0, 1, 2, 3] and read(url).user_attrs["run"] == RUN
    assert len(warnings) == 1


def test_study_that_another_run_took_meanwhile_is_warned_of_once(url: str) -> None:
    warnings: list[str] = []
    run, lines = mirror(url, warnings.append).open(NAME, RUN, ATTRIBUTES, CHOICES), lines_of(4)
    run.copy(lines[:1])
    optuna.delete_study(study_name=NAME, storage=storage_of(url))
    mirror(url).open(NAME, "other", ATTRIBUTES, CHOICES)
    for count in (2, 3, 4):
        run.copy(lines[:count])
    assert len(warnings) == 1 and "deleted there" in warnings[0]
    assert read(url).user_attrs["run"] == "other" and read(url).trials == []


@pytest.mark.parametrize("scheme", ["sqlite:///", "journal://", ""])
def test_file_that_is_deleted_meanwhile_is_made_anew(tmp_path: Path, scheme: str) -> None:
    path = tmp_path / "study.log"
    url = f"{scheme}{path}"
    warnings: list[str] = []
    run, lines = mirror(url, warnings.append).open(NAME, RUN, ATTRIBUTES, CHOICES), lines_of(4)
    run.copy(lines[:2])
    path.unlink()
    run.copy(lines[:3])
    assert len(warnings) == 1 and warnings[0].startswith(f"--mirror: {url.removeprefix('journal://')}: ")
    run.copy(lines)
    assert numbers(url) == [0, 1, 2, 3]
    assert len(warnings) == 1


def test_relative_journal_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    for number, url in enumerate(["journal:one.journal", "two.log"]):
        run = mirror(url).open(NAME, RUN, ATTRIBUTES, CHOICES)
        monkeypatch.chdir(tmp_path / "elsewhere")
        run.copy(lines_of(3))
        monkeypatch.chdir(tmp_path)
        assert numbers(f"journal://{tmp_path}/{('one.journal', 'two.log')[number]}") == [0, 1, 2]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["elsewhere", "one.journal", "two.log"]


@pytest.mark.slow  # a server of one's own, as all tests that ask for one
def test_server_that_restarts_between_trials_is_not_noticed(server: Server, database: str) -> None:
    run, lines = mirror(database).open(NAME, RUN, ATTRIBUTES, CHOICES), lines_of(4)
    run.copy(lines[:2])
    server.stop()
    server.start()
    run.copy(lines)
    assert numbers(database) == [0, 1, 2, 3]


@pytest.fixture
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search does not wait for a storage that fails: Optuna tries again, and sleeps in between."""

    def refuse(seconds: float) -> None:
        raise AssertionError(f"it slept for {seconds} s")

    monkeypatch.setattr("optuna.storages._rdb.storage.time", SimpleNamespace(sleep=refuse))


@pytest.mark.slow
@pytest.mark.usefixtures("_no_waiting")
def test_outages_are_warned_of_once_each_and_caught_up_with(server: Server, database: str) -> None:
    warnings: list[str] = []
    mirrored = mirror(database, warnings.append)
    run, lines = mirrored.open(NAME, RUN, ATTRIBUTES, CHOICES), lines_of(9)
    run.copy(lines[:2])
    for outage in (1, 2):
        server.stop()
        try:
            for count in (1, 2):
                run.copy(lines[: 3 * outage + count])
            other = mirrored.open(f"other {outage}", "other", ATTRIBUTES, CHOICES)
            other.copy(lines[:1])
        finally:
            server.start()
        assert len(warnings) == outage
        run.copy(lines[: 3 * outage + 3])
        other.copy(lines[:2])
        assert numbers(database) == list(range(3 * outage + 3))
        assert numbers(database, f"other {outage}") == [0, 1]
    assert [trial.number for trial in read(database).trials] == list(range(9))
    assert len(warnings) == 2
    for warning in warnings:
        assert warning.startswith("--mirror: postgresql+psycopg://tester:***@127.0.0.1:")
        assert "onnection refused" in warning and "once it works again" in warning
        assert "\n" not in warning and PASSWORD not in warning and quote(PASSWORD, safe="") not in warning


def _mirror_run(url: str, number: int, barrier: Any, results: Any) -> None:
    """One of several processes that share a storage, which none of them finds made."""
    warnings: list[str] = []
    try:
        barrier.wait(PATIENCE)
        run, lines = mirror(url, warnings.append).open(f"run {number}", str(number), ATTRIBUTES, CHOICES), lines_of(8)
        for count in range(1, 9):
            run.copy(lines[:count])
    except Exception as error:
        warnings.append(repr(error))
    results.put(warnings)


@pytest.mark.parametrize(
    "url",
    [pytest.param("sqlite", marks=pytest.mark.slow), "journal", pytest.param("postgresql", marks=pytest.mark.slow)],
    indirect=True,
)
def test_processes_mirror_into_one_storage_at_the_same_time(url: str) -> None:
    context = forking()
    barrier, results = context.Barrier(2), context.Queue()
    processes = [context.Process(target=_mirror_run, args=(url, number, barrier, results)) for number in range(2)]
    for process in processes:
        process.start()
    assert [results.get(timeout=PATIENCE) for _ in processes] == [[], []]
    for number, process in enumerate(processes):
        process.join(PATIENCE)
        assert numbers(url, f"run {number}") == list(range(8))
        assert [trial.number for trial in read(url, f"run {number}").trials] == list(range(8))


def refused(url: str) -> str:
    with pytest.raises(AutoDPQError) as caught:
        mirror(url)
    message = str(caught.value)
    assert message.startswith("--mirror: ") and "\n" not in message and "secret" not in message
    assert caught.value.__context__ is None or caught.value.__suppress_context__, "what was caught may hold it"
    return message


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "'' names no storage; expected sqlite:///FILE, postgresql://USER@HOST/NAME, journal:FILE or FILE.log"),
        ("study.db", "'study.db' names no storage"),
        ("user:secret@host", "the URL names no storage"),
        ("postgresql://user:pw@host:secret/db", "the URL names no storage"),
        ("postgresql://user:p@secret@host/db", "more than one @; write one within a password as %40"),
        ("mongodb://user:secret@host/db", "unknown kind of storage 'mongodb'; expected sqlite:///FILE"),
        ("postgres://user:secret@host/db", "unknown kind of storage 'postgres'; expected sqlite:///FILE, postgresql:"),
        ("postgresql+asyncpg://user:secret@host/db", "asynchronous driver 'postgresql+asyncpg'"),
        ("sqlite://", "no one else sees a database in memory"),
        ("sqlite:///:memory:", "no one else sees a database in memory"),
        ("sqlite:///{folder}/no/study.db", "there is no folder {folder}/no"),
        ("sqlite:///{folder}", "{folder} is a folder; name a file"),
        ("sqlite:///{folder}/text.db", "{folder}/text.db cannot be opened: file is not a database"),
        ("journal:", "'journal:' names no file"),
        ("journal://{folder}/no/study.log", "there is no folder {folder}/no"),
        ("journal://host/study.log", "names a host; write journal:FILE"),
        ("journal:{folder}", "{folder} is a folder; name a file"),
        ("journal:{folder}/text.db", "{folder}/text.db cannot be opened: "),
        ("{folder}/no/study.log", "there is no folder {folder}/no"),
    ],
)
def test_what_is_no_storage(tmp_path: Path, url: str, message: str) -> None:
    (tmp_path / "text.db").write_text("a person's notes\n" * 100)
    assert message.format(folder=tmp_path) in refused(url.format(folder=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["text.db"]


@pytest.mark.parametrize(
    ("url", "missing", "message"),
    [
        ("mysql+pymysql://user:secret@host/db", "pymysql", "pip install pymysql"),
        ("postgresql+psycopg2://user:secret@host/db", "psycopg2", "pip install psycopg2-binary"),
        ("postgresql://user:secret@host/db", "psycopg2,psycopg", "pip install 'psycopg[binary]'"),
    ],
)
def test_missing_drivers_are_named(monkeypatch: pytest.MonkeyPatch, url: str, missing: str, message: str) -> None:
    for name in missing.split(","):
        monkeypatch.setitem(sys.modules, name, None)
    assert message in refused(url)


@pytest.mark.parametrize("query", ["", "?password=secret", "?application_name=mirror"])
@pytest.mark.usefixtures("_no_waiting")
def test_server_that_is_not_there_is_told_at_once(query: str) -> None:
    pytest.importorskip("psycopg")
    message = refused(f"postgresql+psycopg://user:secret@127.0.0.1:1/db{query}")
    assert "postgresql+psycopg://user:***@127.0.0.1:1/db cannot be opened: " in message
    assert "onnection refused" in message


@pytest.mark.slow  # it waits
def test_server_that_does_not_answer_is_given_up() -> None:
    pytest.importorskip("psycopg")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        message = refused(f"postgresql+psycopg://user:secret@127.0.0.1:{silent.getsockname()[1]}/db")
        assert "timeout" in message
        assert 2 < time.monotonic() - begun < PATIENCE, "by itself the driver waits for ever"


@pytest.mark.slow
def test_wrong_password_and_database_are_told_without_the_password(server: Server, database: str) -> None:
    right = quote(PASSWORD, safe="")
    assert 'password authentication failed for user "tester"' in refused(database.replace(right, "secret"))
    message = refused(f"{database}_none")
    assert "does not exist" in message and PASSWORD not in message and right not in message


@pytest.mark.slow
def test_plain_postgresql_uses_the_driver_that_is_installed(
    server: Server, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    mirrored = mirror(database)
    assert mirrored.address.startswith("postgresql+psycopg://tester:***@127.0.0.1:")
    mirrored.open(NAME, RUN, ATTRIBUTES, CHOICES).copy(lines_of(2))
    assert numbers(database) == [0, 1]


def test_what_the_driver_says_is_free_of_passwords(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def leak(*_: Any, **__: Any) -> None:
        raise OSError("cannot reach\nuser:s%3Acret or s:cret or another-secret")

    mirrored = mirror(f"sqlite:///{tmp_path}/study.db")
    assert mirrored.address == f"sqlite:///{tmp_path}/study.db"
    monkeypatch.setattr("studies.watch.dashboard.RDBStorage", leak)
    message = refused("postgresql+psycopg://user:s%3Acret@host/db?password=another-secret")
    assert message.endswith("cannot be opened: cannot reach user:*** or *** or ***")


def test_dashboard_takes_the_address(tmp_path: Path) -> None:
    storage_url = pytest.importorskip("optuna_dashboard._storage_url")
    addresses: Sequence[str] = [f"sqlite:///{tmp_path}/a.db", f"journal://{tmp_path}/b.journal", f"{tmp_path}/c.log"]
    for url in addresses:
        mirrored = mirror(url)
        mirrored.open(NAME, RUN, ATTRIBUTES, CHOICES).copy(lines_of(2))
        storage = storage_url.get_storage(mirrored.address)
        assert len(optuna.load_study(study_name=NAME, storage=storage).trials) == 2
