"""What a study asks for: its options checked before anything runs, and the canonical configuration of every run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence, Sized
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import ValidationError

from autodpq.choices import DPQ, OPQ, Choice, Full, parse_candidates
from autodpq.choices.probe import probe
from autodpq.costs import band_cost
from autodpq.data import dataset_spec
from autodpq.data.digest import file_digest
from autodpq.data.registry import DatasetSpec
from autodpq.errors import AutoDPQError, in_words, nearest
from autodpq.models import MODELS
from autodpq.plan import Field, bands_of
from autodpq.plugins.loading import file_places
from autodpq.plugins.options import construct, label, options_of, parse_call
from autodpq.plugins.registry import home_expanded
from autodpq.search.strategy import STRATEGIES, Strategy
from autodpq.training.recipes import Recipe, find_recipe, recorded
from reports.names import within
from studies.budgets import read_budget
from studies.folder.status import run_name
from studies.options import StudyConfig
from studies.prepared import SPLIT_SEED
from studies.strategies import ALL_STRATEGIES


def read_config(path: Path) -> dict[str, Any]:
    """Reads a study's options from TOML: keys are the command line's options, ``[options.NAME]`` a strategy's.

    A file may come from anybody, so that it may name what is installed, but no code to load.

    Raises:
        AutoDPQError: Names the file and the key.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AutoDPQError(f"--config: {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise AutoDPQError(f"--config: {path} is not valid TOML: {error}") from None
    try:
        config = StudyConfig(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        unknown = nearest(key, StudyConfig.model_fields) if first["type"] == "extra_forbidden" else ""
        raise AutoDPQError(f"{path}: {key} = {first['input']!r}: {in_words(first['msg'])}{unknown}") from None
    refuse_code(config, str(path))
    return values


def refuse_code(config: StudyConfig, where: str) -> None:
    """Refuses options out of a file that name code to load: whoever wrote it must not choose what is run here.

    Raises:
        AutoDPQError: Names the file and the option.
    """
    references = [parse_call(text)[0] for text in config.strategies]
    named = {"strategies": references, "options": list(config.options), "models": list(config.models)}
    named["candidates"] = list(config.candidates or ())
    code = [(key, name) for key, names in named.items() for name in names if ":" in name]
    if ":" in config.dataset and not home_expanded(config.dataset).exists():
        code.append(("dataset", config.dataset))
    for key, name in code:
        raise AutoDPQError(f"{where}: {key}: {name!r} is code to load, which only the command line may name")


def typed_options(values: Mapping[str, Any]) -> StudyConfig:
    """Options, each checked by itself.

    Raises:
        AutoDPQError: Names the option and the value.
    """
    try:
        return StudyConfig(**values)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-")
        raise AutoDPQError(f"{option}: {first['input']!r} given, {in_words(first['msg'])}") from None


def check_names(option: str, names: Sequence[str]) -> None:
    """Refuses a list of strategies or models that is empty, or has one twice.

    Raises:
        AutoDPQError: Names the option.
    """
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise AutoDPQError(f"{option}: {twice} is given twice")
    if not names:
        raise AutoDPQError(f"{option}: at least one name is needed")


def check_config(values: Mapping[str, Any]) -> StudyConfig:
    """Checks all options before anything runs or is written.

    Raises:
        AutoDPQError: Names the option and the value.
    """
    config = typed_options(values)
    spec = dataset_spec(config.dataset)
    check_names("--strategies", [label(strategy) for strategy in make_strategies(config)])
    check_names("--models", [MODELS.find(name).name for name in config.models])
    for option, value in (("--ray-address", "auto"), ("--cpus-per-trial", 1), ("--gpus-per-trial", 0), ("--jobs", 1)):
        needed = "local" if option == "--jobs" else "ray"
        if getattr(config, option[2:].replace("-", "_")) not in (value, None) and config.executor != needed:
            raise AutoDPQError(f"{option}: applies to --executor {needed}, not {config.executor}")
    for option, numbers in (("--K", config.K), ("--D", config.D)):
        if numbers is not None and (not numbers or len(set(numbers)) < len(numbers)):
            raise AutoDPQError(
                f"{option}: {','.join(map(str, numbers)) or 'nothing'} given, distinct numbers are needed"
            )
    recipe = asked_recipe(config, spec)
    check_space(config)
    chosen = study_candidates(config, spec)
    for choice in chosen:
        choice.check(recipe.embedding_dim, "--D" if config.candidates is None else "--candidates")
        probe(choice, recipe.embedding_dim)
    files = file_places(map(type, chosen))
    if files and config.executor == "ray":
        raise AutoDPQError(f"--candidates: {files[0]} is a file, which a cluster's nodes lack; install it as a package")
    return config


def check_space(config: StudyConfig) -> None:
    """Refuses bands and budgets that are none.

    Raises:
        AutoDPQError: Names the option.
    """
    if config.bands != "auto":
        if config.space != "wide":
            raise AutoDPQError("--bands: applies to --space wide")
        falling = all(above > below for above, below in pairwise(config.bands))
        if not falling or not config.bands or config.bands[-1] < 2:
            given = ",".join(map(str, config.bands)) or "nothing"
            raise AutoDPQError(f"--bands: {given} given, falling counts from 2 on are needed, as 1000,200,40,10")
    if config.threshold is not None and config.space == "wide":
        raise AutoDPQError("--threshold: applies to --space paper; --bands says where those of the wide space end")
    if config.budget is not None:
        if not config.budget:
            raise AutoDPQError("--budget: at least one size is needed, as 10%")
        for text in config.budget:
            read_budget(text)


def make_strategies(config: StudyConfig) -> list[Strategy]:
    """The strategies of a study, their options checked.

    Raises:
        AutoDPQError: A strategy or an option is unknown, or an option is not of its type.
    """
    texts = [name for text in config.strategies for name in (ALL_STRATEGIES if text == "all" else (text,))]
    strategies = []
    for text in texts:
        reference, options = parse_call(text)
        kind = STRATEGIES.find(reference)
        strategies.append(construct(kind, options, config.options.get(kind.name)))
    for name in config.options:
        STRATEGIES.find(name)  # those of a strategy that is not among them do no harm, those of none are a mistake
    return strategies


def candidates(K: tuple[int, ...], D: tuple[int, ...]) -> list[DPQ]:
    """Every pair, in the order given."""
    return [DPQ(k, d) for k in K for d in D]


def study_candidates(config: StudyConfig, spec: DatasetSpec) -> tuple[Choice, ...]:
    """What rare values may become, in the order given: ``candidates``, else every pair of ``K`` and ``D``.

    Raises:
        AutoDPQError: A choice is none, or both are given.
    """
    if config.candidates is None and config.space == "wide" and config.K is None and config.D is None:
        dim = asked_recipe(config, spec).embedding_dim
        divisors = tuple(D for D in _WIDE_D if dim % D == 0)
        # Turning one subspace changes nothing; where each number is one, those of small variance get as many bits.
        turned = [OPQ(K, D) for K in _WIDE_K for D in divisors if 1 < D < dim]
        return (*parse_candidates(_WIDE), *candidates(_WIDE_K, divisors), *turned)
    if config.candidates is None:
        return tuple(candidates(config.K or spec.K, config.D or spec.D))
    if config.K is not None or config.D is not None:
        raise AutoDPQError("--candidates: not together with --K or --D")
    try:
        return parse_candidates(config.candidates)
    except AutoDPQError as error:
        raise AutoDPQError(f"--candidates: {error}") from None


def make_space(
    fields: Sequence[Field], choices: Sequence[Choice], embedding_dim: int, *, compact: bool = False
) -> dict[str, tuple[Choice, ...]]:
    """Candidates of each band: all choices, or ``Full()`` alone where it has no rows.

    Where bands are compact, ``Full()`` is always among them, and what takes no less than it is not.

    Args:
        fields: All fields.
        choices: What is asked for.
        embedding_dim: X.
        compact: Whether they are those of the wide space.
    """
    full, space = Full(), {}
    for band in bands_of(fields):
        found = tuple(choices) if band.n_rows else (full,)
        if compact and band.n_rows:
            most = band_cost(full, band.n_rows, embedding_dim, compact).bits
            smaller = [c for c in choices if band_cost(c, band.n_rows, embedding_dim, compact).bits < most]
            found = (full, *(choice for choice in smaller if choice != full))
        space[band.name] = found
    return space


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """One run: a data set, a model, a strategy and a seed, and all that decides its numbers.

    Attributes:
        data: The data set's name, fingerprint, threshold, split and scope of counting.
        model: The model's name.
        strategy: The strategy's name, with the options that are not at their defaults.
        options: All of the strategy's options.
        seed: The seed.
        recipe: All of the recipe.
        init: Where plans are trained from.
        candidates: The choices, as texts.
        trials: Trials of each search.
        calibrate: Whether the logits of the final network are calibrated.
        space: paper or wide.
        bands: Of the wide space.
        budget: Bytes of the plan at most; None for any.
        pretrained: Digest of the file whose weights FE starts from; None where it starts from nothing.
    """

    data: dict[str, Any]
    model: str
    strategy: str
    options: dict[str, Any]
    seed: int
    recipe: dict[str, Any]
    init: str
    candidates: tuple[str, ...]
    trials: int | None
    calibrate: bool = False
    space: Literal["paper", "wide"] = "paper"
    bands: Literal["auto"] | tuple[int, ...] = "auto"
    budget: int | None = None
    pretrained: str | None = None

    def canonical(self) -> str:
        """The configuration as one line of JSON, keys sorted; what earlier versions did not know is left out."""
        values = dataclasses.asdict(self)
        for name, once in _ONCE.items():
            if values[name] == once:
                del values[name]
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @property
    def run_id(self) -> str:
        """Twelve hexadecimal digits that name the run."""
        return _digest(self.canonical())

    @property
    def name(self) -> str:
        """What people call the run."""
        return run_name(self.data["name"], self.model, self.seed, self.within)

    @property
    def within(self) -> str:
        """The strategy, and the budget of bytes that it is held to."""
        return within(self.strategy, self.budget)

    @property
    def compact(self) -> bool:
        """Whether what it compresses is stored as the wide space has it."""
        return self.space == "wide" and STRATEGIES.find(parse_call(self.strategy)[0]).compresses

    @property
    def pretrained_id(self) -> str:
        """Twelve hexadecimal digits that name the pretrained network: what all strategies of a seed share."""
        shared = {"data": self.data, "model": self.model, "seed": self.seed, "recipe": self.recipe}
        if self.pretrained is not None:
            shared["pretrained"] = self.pretrained
        return _digest(json.dumps(shared, sort_keys=True, separators=(",", ":")))


# What versions before did not know.
_ONCE = {"calibrate": False, "space": "paper", "bands": "auto", "budget": None, "pretrained": None}

_WIDE = "full,others,int(2|4|8)"
_WIDE_K, _WIDE_D = (4, 8, 16, 32, 64, 256), (1, 2, 4, 8, 16)


def _given_digest(path: str) -> str:
    """What tells the file of ``--pretrained`` from another."""
    try:
        there = Path(path).stat()
        return _digest_as_of(path, there.st_size, there.st_mtime_ns)
    except OSError as error:
        raise AutoDPQError(f"--pretrained: {path} cannot be read: {error.strerror}") from None
    except AutoDPQError as error:
        raise AutoDPQError(f"--pretrained: {error}") from None


@lru_cache(maxsize=1)
def _digest_as_of(path: str, size: int, changed: int) -> str:
    """Asked for by every run of a study, and read once for each state of the file."""
    return file_digest(Path(path))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def asked_recipe(config: StudyConfig, spec: DatasetSpec) -> Recipe:
    """The recipe that a study asks for, else that of its data.

    Where no printed numbers must come out again, outputs start at the click rate: clicks may be rare, and steps few.

    Raises:
        AutoDPQError: There is none, or a setting does not fit.
    """
    try:
        recipe = find_recipe(config.recipe or spec.recipe)
    except AutoDPQError as error:
        raise AutoDPQError(f"--recipe: {error}") from None
    if config.optimizer != "auto":
        recipe = dataclasses.replace(recipe, optimizer=config.optimizer)
    if recipe.output_start == "drawn" and not spec.is_printed:
        recipe = dataclasses.replace(recipe, output_start="click-rate")
    return recipe


class Described(Protocol):
    """What a run's configuration says of its data: an encoded data set, or what is left of one."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def fingerprint(self) -> str:
        """Digest of its source and of the settings it was encoded with."""

    @property
    def field_names(self) -> Sequence[str]:
        """Its fields."""

    @property
    def counts(self) -> Sequence[Sized]:
        """Per field, something as long as it has values."""


def study_recipe(config: StudyConfig, dataset: Described) -> Recipe:
    """How all models of a study are trained, its optimizer decided."""
    recipe = asked_recipe(config, dataset_spec(config.dataset))
    fields = [Field(*named, 0) for named in zip(dataset.field_names, map(len, dataset.counts), strict=True)]
    return dataclasses.replace(recipe, optimizer=recipe.optimizer_for(fields))


def run_config(
    config: StudyConfig,
    dataset: Described,
    model: str,
    strategy: Strategy,
    seed: int,
    budget: int | None = None,
) -> RunConfig:
    """The configuration of one run of a study; ``budget`` is in bytes."""
    spec = dataset_spec(config.dataset)
    recipe = recorded(study_recipe(config, dataset))
    return RunConfig(
        data={
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "threshold": config.threshold or spec.threshold,
            "split": config.split or spec.split_method,
            "split_seed": SPLIT_SEED + seed if config.resplit else SPLIT_SEED,
            "frequency_scope": config.frequency_scope,
        },
        model=model,
        strategy=label(strategy),
        options=options_of(strategy),
        seed=seed,
        recipe=recipe,
        init=config.init,
        candidates=tuple(map(str, study_candidates(config, spec))),
        trials=config.trials,
        calibrate=config.calibrate,
        space=config.space,
        bands=config.bands,
        budget=budget,
        pretrained=None if config.pretrained is None else _given_digest(config.pretrained),
    )
