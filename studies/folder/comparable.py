"""Whether what a command asks for can stand in one table with what a folder holds; asked before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from autodpq.errors import AutoDPQError
from autodpq.records.folder import entries, read_config, read_study
from autodpq.records.schema import ConfigFile

Compile = Literal["auto", "on", "off"]
Setting = TypeVar("Setting", bound=str)


@dataclass(frozen=True)
class _Common:
    """Something that all runs of a table have in common.

    Attributes:
        option: What decides it.
        read: Its value in a run's configuration.
        said: How a value is told.
    """

    option: str
    read: Callable[[Mapping[str, Any]], object]
    said: Callable[[Any], str] = str

    def differences(self, there: Any, here: Any) -> tuple[str, str]:
        """How two values are told; of recipes of one name, the settings that differ."""
        if not isinstance(there, dict):
            return self.said(there), self.said(here)
        names = [name for name in {"name": "", **there, **here} if there.get(name) != here.get(name)]
        if "name" in names:
            return there["name"], here["name"]
        told = (", ".join(f"{name} {recipe.get(name, 'unknown')}" for name in names) for recipe in (there, here))
        return next(told), next(told)


def _data(name: str) -> Callable[[Mapping[str, Any]], object]:
    return lambda config: config["data"].get(name)


def _recipe(config: Mapping[str, Any]) -> object:
    return {name: value for name, value in config["recipe"].items() if name != "optimizer"}


_COMMON = (
    _Common("--dataset", _data("name")),
    _Common("the rows or fields of the data set, fingerprint", _data("fingerprint"), lambda digest: digest[:12]),
    _Common("--threshold", _data("threshold")),
    _Common("--split", _data("split")),
    _Common("--frequency-scope", _data("frequency_scope")),
    _Common("--candidates", lambda config: config["candidates"], ",".join),
    _Common("--space", lambda config: config.get("space", "paper")),
    _Common("--bands", lambda config: config.get("bands", "auto"), lambda bands: str(bands).strip("[]")),
    _Common("--trials", lambda config: config["trials"], lambda trials: str(trials or "not given")),
    _Common("--pretrained", lambda config: config.get("pretrained"), lambda digest: (digest or "not given")[:12]),
    _Common("--init", lambda config: config["init"]),
    _Common("--recipe", _recipe),
    _Common("--calibrate", lambda config: config.get("calibrate", False)),
    _Common("--optimizer", lambda config: config["recipe"].get("optimizer", "adam")),
)


def _shared_by(config: Mapping[str, Any]) -> tuple[str, ...]:
    """What a run has in common with those of its table, as JSON: files know no tuples."""
    return tuple(json.dumps(shared.read(config), sort_keys=True) for shared in _COMMON)


def first_difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """The first thing that all runs of a table have in common and two configurations do not.

    Returns:
        What decides it, and how its two values are told; None where there is none.
    """
    return _first_difference(_shared_by(there), _shared_by(here))


def _first_difference(there: Sequence[str], here: Sequence[str]) -> tuple[str, str, str] | None:
    for shared, theirs, mine in zip(_COMMON, there, here, strict=True):
        if theirs != mine:
            return shared.option, *shared.differences(json.loads(theirs), json.loads(mine))
    return None


class Folder:
    """The runs that a study's folder holds, done or begun.

    Args:
        out: The folder; it need not be there yet.

    Raises:
        AutoDPQError: A run's configuration is damaged, or cannot be read.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._by_run = {path.parent: read_config(path) for path in sorted(out.glob("runs/*/config.json"))}
        self._configs = list(self._by_run.values())
        known = read_study(out / "study.json") if (out / "study.json").exists() else None
        self._resplit = known.resplit if known is not None and self._configs else None
        self._shared = {_shared_by(entries(config)): None for config in self._configs}

    def check(self, run: Mapping[str, Any], resplit: bool) -> None:
        """Refuses a run that cannot be compared with those that are there.

        Args:
            run: Its configuration.
            resplit: Whether every seed has a split of its own.

        Raises:
            AutoDPQError: Names the first thing that differs.
        """
        if self._resplit not in (None, resplit):
            self._refuse("--resplit", str(self._resplit), str(resplit))
        mine = _shared_by(run)
        for theirs in self._shared:
            difference = _first_difference(theirs, mine)
            if difference is not None:
                self._refuse(*difference)

    def check_sources(self, run: str, strategy: str, model: str, now: Mapping[str, str | None]) -> None:
        """Refuses to go on with a run that other code of a plug-in began, or to stand beside one that it finished.

        Args:
            run: Its identifier.
            strategy: Its strategy's name.
            model: Its model's name.
            now: Digests of the code as it is.

        Raises:
            AutoDPQError: Names the plug-in.
        """
        folder = self.out / "runs" / run
        if folder not in self._by_run:
            return
        measured = self._by_run[folder].sources
        for part, digest in now.items():
            if measured.get(part) != digest:
                named = {"strategy": f"strategy {strategy!r}", "model": f"model {model!r}"}
                raise AutoDPQError(
                    f"{named.get(part, part)}: its code is not what {folder} was measured with; delete that folder "
                    f"to measure it anew, or name another --out"
                )

    def device(self, asked: str) -> str:
        """The device that the runs are trained on: as asked, and where that is ``auto``, as those that are there.

        Raises:
            AutoDPQError: Those that are there were trained on another.
        """
        return self._settled("--device", asked, (config.device.partition(":")[0] for config in self._configs))

    def compile(self, model: str, asked: Compile) -> Compile:
        """Whether steps of a model are compiled: as asked, and where that is ``auto``, as in the runs that are there.

        Raises:
            AutoDPQError: Those that are there were trained the other way.
        """
        of_model = (config.compiled for config in self._configs if config.model == model)
        known: list[Compile] = ["on" if compiled else "off" for compiled in of_model if compiled is not None]
        return self._settled("--compile", asked, known)

    def _settled(self, option: str, asked: Setting, known: Iterable[Setting]) -> Setting:
        there = sorted(set(known))
        if len(there) != 1 or there[0] == asked:  # runs of earlier versions may be of both kinds
            return asked
        if asked != "auto":
            self._refuse(option, there[0], asked)
        return there[0]

    def elsewhere(self, machine: str, versions: Mapping[str, str]) -> Iterator[str]:
        """What may change digits though the command is the same, a line each.

        Args:
            machine: This machine.
            versions: Versions of what is used here.
        """
        machines = {config.machine for config in self._configs} - {machine}
        if machines:
            yield (
                f"{self.out}: runs of another machine are there ({', '.join(sorted(machines))}; here {machine}): the "
                "same run may differ in its last digits"
            )
        other = _other_versions(self._configs, versions)
        if other:
            yield f"{self.out}: runs of other versions are there ({', '.join(other)}): digits may differ"

    def _refuse(self, option: str, there: str, here: str) -> None:
        raise AutoDPQError(
            f"--out: {self.out} holds runs of {option} {there}, and this command's would be of {here}: they cannot "
            "stand in one table; name another --out, or give the option as it was"
        )


def _other_versions(configs: Sequence[ConfigFile], versions: Mapping[str, str]) -> list[str]:
    """Packages of which runs know another version than is used here."""
    known = {
        (name, config.versions[name])
        for config in configs
        for name, version in versions.items()
        if config.versions.get(name, version) != version
    }
    return [f"{name} {version}, here {versions[name]}" for name, version in sorted(known)]
