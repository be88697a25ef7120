"""The settings of a run: typed, layered, and checked as a whole.

Layers, from weakest to strongest: defaults, preset, file, `--set`, flags. A mapping of a layer
overrides key by key; a layer that names another method (or dataset) drops the weaker layers'
settings of the former one, which would mean nothing to it.

pydantic is imported lazily: the command line imports this module for `--help`.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, cast, get_origin, get_type_hints

import yaml
from annotated_types import Ge, Le

from didcli import registry, text_input, yaml_text
from didcli.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from pydantic import ValidationError

Precision = Literal["auto", "fp32", "bf16"]
Seed = Annotated[int, Ge(0), Le(2**63 - 1)]
"""A seed that torch takes."""
Layer = Mapping[str, Any]

CONFIG_NAME = "config.yaml"
"""Name of the file of settings in a run folder."""


@dataclass(frozen=True)
class TrainConfig:
    """How long and how a method is trained; the same settings for every method."""

    steps: Annotated[int, Ge(1), Le(1_000_000_000)] = 3_000
    """Calls to `Method.train_step`, not epochs."""
    batch_size: Annotated[int, Ge(2), Le(1_000_000)] = 64
    """Images per step."""
    seed: Seed = 0
    """Fixes initial weights, the images of every batch, codes and noise."""
    save_every: Annotated[int, Ge(1)] = 1_000
    """Steps from one checkpoint to the next."""
    log_every: Annotated[int, Ge(1)] = 100
    """Steps from one line of log.jsonl to the next."""
    picture_every: Annotated[int, Ge(0)] = 1_000
    """Steps from one picture of traversals to the next; 0 draws none."""
    device: str = "auto"
    """Device to train on: auto, cpu, cuda, cuda:N or mps."""
    precision: Precision = "auto"
    """Precision of convolutions and matrix products; losses and penalties are always in fp32."""
    threads: Annotated[int, Ge(0), Le(10_000)] = 0
    """CPU threads; 0 is one per core."""


@dataclass(frozen=True)
class Section:
    """A plug-in and its settings: `name` and the fields of that plug-in's `Config`."""

    name: str
    settings: Any
    """An instance of the plug-in's frozen dataclass `Config`."""

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, **asdict(self.settings)}


@dataclass(frozen=True)
class RunConfig:
    """All that decides the outcome of a training run."""

    method: Section
    data: Section
    train: TrainConfig = field(default_factory=TrainConfig)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for YAML and JSON; `build([config.to_dict()])` gives it back."""
        return {
            "method": self.method.to_dict(),
            "data": self.data.to_dict(),
            "train": asdict(self.train),
        }

    def flat(self) -> dict[str, Any]:
        """Values by keys such as `method.beta`; `method.name` is among them."""
        return {
            f"{section}.{key}": value
            for section, values in self.to_dict().items()
            for key, value in values.items()
        }

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.to_dict(), sort_keys=False)


DEFAULTS: Layer = {"method": {"name": "did"}, "data": {"name": "dsprites"}, "train": {}}


def resolve(
    preset: str | None = None,
    file: Path | Layer | None = None,
    assignments: Iterable[str] = (),
    flags: Layer | None = None,
    *,
    base: Layer | None = None,
) -> RunConfig:
    """Build the settings from everything a user can give; see the module for the precedence.

    preset: by default one for the method and the data, see `_default_preset`.
    file: what it says, or where it is. One that names its method stands in for the default preset,
    whose settings are for another method, or other images.
    assignments: `section.key=value` texts, the value read as YAML.
    flags: a layer.
    base: stands in for the default preset, where no other is named.
    Raises UsageError naming every problem at once.
    """
    of_file = load_file(file) if isinstance(file, Path) else file or {}
    given = [parse_assignment(text) for text in assignments]
    if preset is None and base is None and "name" in of_file.get("method", {}):
        base = {}
    if preset is not None or base is None:
        if preset is None:
            preset = _default_preset([of_file, *given, flags or {}])
        base = load_preset(preset)
    layers = [DEFAULTS, base, of_file]
    # The names first: `--method vae --set method.beta=4` sets beta of that method. If the flag came
    # after it, beta would be taken for a setting of the former method, and dropped.
    flags = flags or {}
    named = {key: {"name": layer["name"]} for key, layer in flags.items() if "name" in layer}
    layers.append(named)
    return build([*layers, *given, flags])


def _default_preset(layers: Iterable[Layer]) -> str:
    """The preset for the method and the data that layers name: the first quick one where there is
    one, else the first; others are for variants, which differ in what --set then changes.

    Where the method has none for the data, one of the default method for them, else DEFAULT_PRESET.
    """
    named = _merge([DEFAULTS, *layers])
    of_presets = {name: load_preset(name) for name in registry.presets()}
    for method in (named["method"]["name"], DEFAULTS["method"]["name"]):
        wanted = method, named["data"]["name"]
        fitting = [
            name
            for name, preset in of_presets.items()
            if (preset["method"]["name"], preset["data"]["name"]) == wanted
        ]
        if fitting:
            return min(fitting, key=lambda name: not name.endswith("-quick"))
    return registry.DEFAULT_PRESET


def build(layers: Iterable[Layer]) -> RunConfig:
    """Merge layers, weakest first, and check the result.

    Raises UsageError with one line for each unknown key, wrong type and value out of range.
    """
    merged = _read_keys(_merge(layers))
    problems: list[str] = []
    checked: dict[str, Any] = {}
    kinds: dict[str, registry.Kind] = {"method": "methods", "data": "data"}
    _check_keys("", merged, ["method", "data", "train"], problems)
    for section, kind in kinds.items():
        settings = dict(merged.get(section, {}))
        name = str(settings.pop("name", ""))
        try:
            config_type = registry.load(kind, name).Config
        except UnknownNameError as error:
            problems.append(f"{section}.name: {error}. {error.hint}")
            continue
        values = _check_dataclass(section, config_type, settings, problems)
        checked[section] = Section(name, values)
    checked["train"] = _check_dataclass("train", TrainConfig, merged.get("train", {}), problems)
    if problems:
        raise UsageError(
            f"the settings have {listed(problems)}",
            hint="did train --help shows where settings come from; a run's config.yaml shows all.",
        )
    return RunConfig(**checked)


FREE_ON_RESUME = {
    f"train.{name}"
    for name in (
        *("steps", "save_every", "log_every", "picture_every"),
        *("device", "precision", "threads"),
    )
}
"""Settings that may change when a run goes on: they decide how far and how fast, not where to."""
SAME_RESULT = FREE_ON_RESUME - {"train.steps", "train.precision"}
"""Settings that may differ between runs that end alike."""
REPETITION = SAME_RESULT | {"train.seed"}
"""Settings that may differ between runs that repeat one experiment."""


def check_resumable(
    former: RunConfig, wanted: RunConfig, free: Collection[str] = FREE_ON_RESUME
) -> None:
    """Raises UsageError, naming each setting whose change would make it another run; those in
    `free` may change."""
    before, after = former.flat(), wanted.flat()
    changed = [
        f"{key}: {before.get(key)!r} -> {after.get(key)!r}"
        for key in sorted(before.keys() | after.keys())
        if key not in free and before.get(key) != after.get(key)
    ]
    if changed:
        raise UsageError(
            "resuming would change the run:\n" + "\n".join(f"  {line}" for line in changed),
            hint="Resume without these settings (config.yaml in the run folder may have them), or "
            "start a new run in another --out.",
        )


def load_preset(name: str) -> Layer:
    """Read a preset by name. Raises UnknownNameError when there is no such preset."""
    known = registry.presets()
    if name not in known:
        raise UnknownNameError(f"no preset {name!r}", hint=registry.suggest(name, known))
    return load_file(registry.PRESETS / f"{name}.yaml")


def load_file(path: Path) -> Layer:
    """Read a YAML mapping of sections. Raises UsageError when it is not one."""
    return parse_file(read_text(path), path)


def read_text(path: Path) -> str:
    """What a settings file says; `-` is stdin. Raises UsageError when it cannot be read."""
    try:
        text = text_input.read(path)
    except FileNotFoundError:
        raise UsageError(f"no settings file {path}", hint="Check the path of --config.") from None
    except (OSError, ValueError) as error:
        raise _not_yaml(path, error) from error
    if str(path) == text_input.STDIN and not text.strip():
        hint = "See what the command before the pipe says, or leave out --config."
        raise UsageError("stdin has no settings for --config -", hint=hint)
    return text


def parse_file(text: str, path: Path) -> Layer:
    """The YAML mapping of sections that a file says. Raises UsageError when it is not one."""
    try:
        content = yaml_text.load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise _not_yaml(path, error) from error
    content = {} if content is None else content
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise UsageError(
            f"{text_input.name(path)} is not a mapping of sections (method, data, train) to "
            "settings",
            hint="A settings file looks like the config.yaml of a run folder.",
        )
    return cast("Layer", read_numbers(content))


def _not_yaml(path: Path, error: Exception) -> UsageError:
    return UsageError(
        f"cannot read {text_input.name(path)} as YAML: {' '.join(str(error).split())}",
        hint="A settings file looks like the config.yaml of a run folder.",
    )


def parse_assignment(text: str) -> Layer:
    """`method.lambda_h=0.5` -> {"method": {"lambda_h": 0.5}}. Raises UsageError."""
    key, equals, value = text.partition("=")
    section, dot, name = key.strip().partition(".")
    if not (equals and dot and section and name) or "." in name:
        raise UsageError(
            f"--set takes section.key=value, got {text!r}",
            hint="For example: --set method.latent_dim=8 --set train.batch_size=128",
        )
    try:
        parsed = yaml_text.load(value)
    except (yaml.YAMLError, ValueError):  # such as a date that does not exist
        parsed = value
    if re.search(r"[{,]\s*\d+:\S", value):  # {500:0} is the key "500:0", or a number of base 60
        raise UsageError(
            f"--set {text}: a colon in a mapping has a space after it",
            hint="For example: --set 'method.lambda_h={500: 0, 5000: 0.3}'",
        )
    return {section: {name: read_numbers(parsed)}}


def read_numbers(value: Any) -> Any:
    """Turn texts such as 1e-4 into numbers, at any depth: YAML 1.1 reads them as strings."""
    if isinstance(value, dict):
        return {read_numbers(key): read_numbers(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [read_numbers(entry) for entry in value]
    if isinstance(value, str) and re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+", value):
        number = float(value)
        return int(number) if number.is_integer() else number
    return value


def _read_keys(value: Any) -> Any:
    """Turn keys such as "300" into numbers, at any depth: JSON writes them as texts."""
    if not isinstance(value, dict):
        return value
    return {
        int(key) if isinstance(key, str) and key.isdecimal() else key: _read_keys(entry)
        for key, entry in value.items()
    }


def _merge(layers: Iterable[Layer]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in layers:
        for section, settings in layer.items():
            if not isinstance(settings, Mapping):
                merged[section] = settings
                continue
            former = merged.get(section, {})
            renamed = "name" in settings and settings["name"] != former.get("name")
            merged[section] = {**({} if renamed else former), **settings}
    return merged


def _check_dataclass(section: str, kind: Any, settings: Any, problems: list[str]) -> Any:
    """An instance of the dataclass `kind`, or None with lines added to `problems`."""
    from pydantic import ConfigDict, Field, ValidationError, create_model

    hints = get_type_hints(kind, include_extras=True)
    defined: dict[str, Any] = {
        f.name: (hints[f.name], Field(default_factory=f.default_factory))
        if f.default_factory is not MISSING
        else (hints[f.name], f.default)
        for f in fields(kind)
    }
    _check_keys(f"{section}.", settings, list(defined), problems)
    # Strict, so that `steps: true` or `lr: "fast"` is an error and not a number.
    rules = ConfigDict(strict=True, allow_inf_nan=False)
    model = create_model(kind.__name__, __config__=rules, **defined)
    try:
        checked = model.model_validate({key: settings[key] for key in settings if key in defined})
    except ValidationError as error:
        several = {name for name, hint in hints.items() if get_origin(hint) in (Union, UnionType)}
        problems += _describe(section, error, several)
        return None
    try:
        return kind(**{name: getattr(checked, name) for name in defined})
    except ValueError as error:  # settings that are each fine and contradict each other
        problems.append(f"{section}.{error}")
        return None


def _check_keys(prefix: str, settings: Any, known: list[str], problems: list[str]) -> None:
    for key in settings:
        if key not in known:
            problems.append(f"{prefix}{key}: no such setting. {registry.suggest(str(key), known)}")


def _describe(section: str, error: "ValidationError", several: set[str]) -> list[str]:
    """A line for each setting, or for each of its entries, that cannot be what it should.

    several: the settings that may be of several types.
    """
    by_setting: dict[str, list[Any]] = {}
    for problem in error.errors():
        by_setting.setdefault(str(problem["loc"][0]), []).append(problem)
    lines = []
    for name, problems in by_setting.items():
        found = _closest_type(problems) if name in several else problems
        for problem in found:
            key = ".".join([section, name, *(str(part) for part in problem["loc"][1:])])
            lines.append(f"{key}: {problem['msg']}, got {problem['input']!r}")
    return lines


def _closest_type(problems: list[Any]) -> list[Any]:
    """What is wrong with a setting that may be of several types, as the type that it is of.

    pydantic tries each, and names the type in the second part of a location: dropped here.
    """
    found = [p for p in problems if len(p["loc"]) > 2 or not p["type"].endswith("_type")]
    if not found:
        kinds = [problem["msg"].removeprefix("Input should be ") for problem in problems]
        found = [{**problems[0], "msg": "Input should be " + " or ".join(kinds)}]
    return [{**problem, "loc": (problem["loc"][0], *problem["loc"][2:])} for problem in found]


def listed(problems: list[str]) -> str:
    """`2 problems:`, and a line for each."""
    count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
    return f"{count}:" + "".join(f"\n  {problem}" for problem in problems)
