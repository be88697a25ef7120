"""Find plug-ins and presets by file name.

The method `beta_vae` is the file didcli/methods/beta_vae.py; adding the file registers it.
Listing names imports nothing, so `did train --help` never waits for torch.
"""

import importlib
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Literal

from didcli.errors import UnknownNameError

Kind = Literal["methods", "data", "metrics"]
PRESETS = Path(__file__).parent / "presets"
DEFAULT_PRESET = "did-dsprites-quick"


def names(kind: Kind) -> list[str]:
    """The plug-ins there are, sorted. Files whose name starts with `_` are shared parts."""
    folder = Path(__file__).parent / kind
    return sorted(file.stem for file in folder.glob("*.py") if not file.stem.startswith("_"))


def check(kind: Kind, name: str) -> None:
    """Raises UnknownNameError, with the nearest name, when there is no such plug-in."""
    known = names(kind)
    if name not in known:
        raise UnknownNameError(f"no {name!r} in {kind}", hint=suggest(name, known))


def load(kind: Kind, name: str) -> ModuleType:
    """Import the plug-in `name`; only that one."""
    check(kind, name)
    return importlib.import_module(f"didcli.{kind}.{name}")


def presets() -> list[str]:
    """The presets there are, sorted: the YAML files of didcli/presets."""
    return sorted(file.stem for file in PRESETS.glob("*.yaml"))


def suggest(name: str, known: list[str]) -> str:
    """The hint for a name that is not among `known`."""
    close = get_close_matches(name, known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Choose from: {', '.join(known)}."
