"""What a comparison is asked for: a YAML file of methods, seeds, data, budget and metrics.

    data: {name: dsprites}
    train: {steps: 20000}               # the budget, the same for all
    seeds: [0, 1, 2]                    # or how many: 3
    metrics: [mig, dci, sap]            # or all
    eval: {train_points: 10000}         # the options of did eval
    entries:
      - preset: did-dsprites
        label: DiD
      - method: beta_vae                # its defaults
        set: {method.beta: 4}           # as --set
        train: {steps: 40000}           # for this entry alone
      - preset: factor_vae-dsprites     # "FactorVAE, gamma 10", "FactorVAE, gamma 40": each a row
        label: FactorVAE
        sweep: {method.gamma: [10, 40]}

An entry is, from weakest to strongest: its preset or method, the common `data` and `train`, its
own `train`, its `set`. One with `sweep` stands for as many as there are combinations of the values
that it lists. The first entry is the one that the others are compared with.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from annotated_types import Ge, MinLen
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from didcli import config, registry, text_input, yaml_text
from didcli.config import Layer, RunConfig, Seed
from didcli.errors import UsageError
from didcli.scoring.protocol import DciBackend, EvaluationProtocol, SapConvention, deciding

LONGEST_NAME = 200
"""Bytes of a folder's name, to which -s and a seed are added: disks take 255."""
HINT = "examples/specs/ has a specification to start from."
_SEED_PROBLEM = "train.seed: seeds: names them, the same for all entries"


class _Checked(BaseModel):
    """Part of the file: no other keys, no conversions."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class EvalOptions(_Checked):
    """The options of `did eval` that decide scores, with its defaults."""

    train_points: Annotated[int, Ge(2)] = EvaluationProtocol.train_points
    test_points: Annotated[int, Ge(2)] = EvaluationProtocol.test_points
    variance_points: Annotated[int, Ge(2)] = EvaluationProtocol.variance_points
    sap: SapConvention = EvaluationProtocol.sap
    dci_backend: DciBackend = EvaluationProtocol.dci_backend
    eval_seed: Annotated[int, Ge(0)] = EvaluationProtocol.eval_seed
    eval_seeds: Annotated[int, Ge(1)] = EvaluationProtocol.eval_seeds
    disjoint: bool = EvaluationProtocol.disjoint


@dataclass(frozen=True)
class Evaluation:
    """How runs are scored."""

    metrics: tuple[str, ...]
    options: EvalOptions

    @property
    def scores(self) -> tuple[str, ...]:
        """The keys of the scores that the metrics give."""
        modules = (registry.load("metrics", name) for name in self.metrics)
        return tuple(key for module in modules for key in module.SCORES)

    @property
    def protocol(self) -> dict[str, Any]:
        """The protocol as `eval.json` has it, as far as it decides scores."""
        return deciding(EvaluationProtocol(**self.options.model_dump()).as_dict())

    def flags(self) -> list[str]:
        """Options of `did eval` that ask for it."""
        flags = ["--metrics", ",".join(self.metrics)]
        for name, value in self.options.model_dump().items():
            option = f"--{name.replace('_', '-')}"
            if isinstance(value, bool):
                flags += [option] if value else []
            else:
                flags += [option, str(value)]
        return flags


@dataclass(frozen=True)
class Spec:
    """A specification without a problem."""

    entries: Mapping[str, RunConfig]
    """Settings by label, in order; with seed 0."""
    seeds: tuple[int, ...]
    evaluation: Evaluation
    text: str
    """Text of the file."""


class _Common(_Checked):
    """The file without its entries."""

    seeds: Annotated[list[Seed], MinLen(1)]
    data: dict[str, Any] = {}
    train: dict[str, Any] = {}
    metrics: Annotated[list[str], MinLen(1)] = Field(default_factory=lambda: _all_metrics("all"))
    eval: EvalOptions = EvalOptions()

    @field_validator("seeds", mode="before")
    @classmethod
    def _counted(cls, value: object) -> object:
        """3 stands for [0, 1, 2]."""
        if isinstance(value, list):
            return value
        if type(value) is not int or value < 1:
            raise ValueError("A list of seeds is wanted, or how many: at least 1")
        return list(range(value))

    @field_validator("seeds")
    @classmethod
    def _different(cls, value: list[int]) -> list[int]:
        if len(set(value)) < len(value):
            raise ValueError("A seed is named twice")
        return value

    @field_validator("metrics", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        return _all_metrics(value)

    @field_validator("metrics")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        known = registry.names("metrics")
        for name in value:
            if name not in known:
                raise ValueError(f"No metric {name!r}. {registry.suggest(name, known)}")
        return value


class _Entry(_Checked):
    preset: str | None = None
    method: str | None = None
    label: Annotated[str, MinLen(1)] | None = None
    train: dict[str, Any] = {}
    overrides: dict[str, Any] = Field(default={}, alias="set")
    sweep: dict[str, Annotated[list[Any], MinLen(1)]] = {}

    @model_validator(mode="after")
    def _either(self) -> "_Entry":
        if (self.preset is None) == (self.method is None):
            raise ValueError("An entry has either a preset or a method")
        return self

    @field_validator("sweep")
    @classmethod
    def _different(cls, value: dict[str, list[Any]]) -> dict[str, list[Any]]:
        for key, values in value.items():
            if any(each in values[:i] for i, each in enumerate(values)):
                raise ValueError(f"A value of {key} is listed twice")
        return value

    @property
    def name(self) -> str:
        return self.label or self.preset or self.method or ""

    def combinations(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """A label and settings for each combination of the values that are swept.

        Without any, the entry's own label and no settings.
        """
        for values in product(*self.sweep.values()):
            swept = dict(zip(self.sweep, values, strict=True))
            varied = (f"{key.split('.')[-1]} {value}" for key, value in swept.items())
            yield ", ".join([self.name, *varied]), swept


_Part = TypeVar("_Part", bound=BaseModel)


def read_spec(path: Path) -> Spec:
    """Read and check a specification; `-` is stdin. Raises UsageError that names every problem at
    once."""
    try:
        text = text_input.read(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        name = text_input.name(path)
        raise UsageError(f"cannot read {name} as YAML: {reason}", hint=HINT) from error
    return parse_spec(text, text_input.name(path))


def parse_spec(text: str, name: str) -> Spec:
    """Read, as `read_spec` does, what a file of that name holds."""
    try:
        content = yaml_text.load(text)
    except (ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"cannot read {name} as YAML: {reason}", hint=HINT) from error
    if not isinstance(content, dict):
        raise UsageError(f"{name} is not a mapping of keys to values", hint=HINT)
    problems: list[str] = []
    spec = _check(config.read_numbers(content), text, problems)
    if spec is None:
        raise UsageError(f"{name} has {config.listed(problems)}", hint=HINT)
    return spec


def folder_name(label: str) -> str:
    """The label as part of a path: anything but letters, digits, `.`, `_`, `=` and `+` is a `-`."""
    return re.sub(r"[^\w.=+]+", "-", label).strip("-.")


def _check(content: dict[Any, Any], text: str, problems: list[str]) -> Spec | None:
    """The specification, or None with lines added to `problems`."""
    listed = content.pop("entries", None)
    common = _part(_Common, content, "", ["entries", *_keys(_Common)], problems)
    if not isinstance(listed, list) or not listed:
        problems.append("entries: a list with at least one preset or method is wanted")
        listed = []
    parts = [_entry(number, values, problems) for number, values in enumerate(listed)]
    shared = _sections(content)
    _, shared_problems = _build([config.DEFAULTS, shared])
    problems += shared_problems
    problems += [_SEED_PROBLEM] if "seed" in shared.get("train", {}) else []
    entries: dict[str, RunConfig] = {}
    for number, entry in enumerate(parts):
        if entry is None:
            continue
        found: list[str] = []
        for label, swept in entry.combinations():
            built, wrong = _build_entry(entry, swept, shared)
            found += wrong
            if clash := _clash(label, entries):
                found.append(clash)
            elif built is not None:
                entries[label] = built
        where = f"entries[{number}] ({entry.name})"
        # Once each: what is wrong with an entry is so for every value that it sweeps.
        lines = [line for line in dict.fromkeys(found) if line not in shared_problems]
        problems += [f"{where}: {line}" for line in lines]
    problems += _different_data(entries)
    if problems or common is None:
        return None
    evaluation = Evaluation(tuple(dict.fromkeys(common.metrics)), common.eval)
    return Spec(entries, tuple(common.seeds), evaluation, text)


def _entry(number: int, values: Any, problems: list[str]) -> _Entry | None:
    if isinstance(values, dict):
        return _part(_Entry, values, f"entries[{number}].", None, problems)
    problems.append(
        f"entries[{number}]: a mapping is wanted, such as {{preset: did-dsprites}}, got {values!r}"
    )
    return None


def _part(
    model: type[_Part], values: Any, prefix: str, known: list[str] | None, problems: list[str]
) -> _Part | None:
    """An instance of `model`, or None with lines added to `problems`. known: keys to suggest."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        for problem in error.errors():
            key = ".".join(str(part) for part in problem["loc"])
            where = f"{prefix}{key}".rstrip(".") + ": "
            if problem["type"] == "extra_forbidden":
                keys = _keys(EvalOptions) if key.startswith("eval.") else known or _keys(model)
                problems.append(f"{where}no such key. {registry.suggest(key.split('.')[-1], keys)}")
            else:
                message = problem["msg"].removeprefix("Value error, ").rstrip(".")
                got = "" if problem["type"] == "missing" else f", got {problem['input']!r}"
                problems.append(f"{where}{message}{got}")
    return None


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _build_entry(
    entry: _Entry, swept: Mapping[str, Any], shared: Layer
) -> tuple[RunConfig | None, list[str]]:
    """The settings of an entry at values that it sweeps, or None and what is wrong with them."""
    problems = [f"sweep: {key} is in set:, too" for key in swept if key in entry.overrides]
    layers: list[Layer] = [config.DEFAULTS]
    if entry.method is not None:
        layers.append({"method": {"name": entry.method}})
    elif entry.preset in registry.presets():
        layers.append(config.load_preset(str(entry.preset)))
    else:
        hint = registry.suggest(str(entry.preset), registry.presets())
        problems.append(f"no preset {entry.preset!r}. {hint}")
    layers += [shared, {"train": entry.train}]
    overrides = {**entry.overrides, **swept}
    for key, value in overrides.items():
        section, dot, name = key.partition(".")
        if not (dot and section and name) or "." in name:
            where = "sweep" if key in swept else "set"
            problems.append(f"{where}: {key!r} is not section.key, such as method.beta")
        else:
            layers.append({section: {name: value}})
    if "seed" in entry.train or "train.seed" in overrides:
        problems.append(_SEED_PROBLEM)
    built, found = _build(layers)
    if problems or found or built is None:
        return None, problems + found
    return replace(built, train=replace(built.train, seed=0)), []


def _build(layers: Iterable[Layer]) -> tuple[RunConfig | None, list[str]]:
    """The settings, or None and what is wrong with them."""
    try:
        return config.build(layers), []
    except UsageError as error:
        # The first line of the message counts the problems, and each has one of the others.
        return None, [line.strip() for line in str(error).splitlines()[1:]]


def _sections(content: Mapping[Any, Any]) -> Layer:
    """The settings common to all, as far as they are mappings."""
    return {
        name: content[name] for name in ("data", "train") if isinstance(content.get(name), dict)
    }


def _clash(label: str, entries: Iterable[str]) -> str | None:
    """Why runs of this label could not be told from those of another. Some disks know no case."""
    name = folder_name(label).casefold()
    if not name:
        return "the label has no letter or digit to name a folder by"
    if len(name.encode()) > LONGEST_NAME or not label.isprintable():
        return f"the label is longer than {LONGEST_NAME} bytes, or has a line break in it"
    if name in {folder_name(other).casefold() for other in entries}:
        return "another entry has this label; give each its own with label:"
    return None


def _different_data(entries: Mapping[str, RunConfig]) -> list[str]:
    """Scores on different images cannot be compared."""
    found = {str(built.data.to_dict()): label for label, built in entries.items()}
    if len(found) < 2:
        return []
    return [f"data: entries differ in it ({', '.join(found.values())}); name one for all: data:"]


def _all_metrics(value: Any) -> Any:
    return registry.names("metrics") if value == "all" else value
