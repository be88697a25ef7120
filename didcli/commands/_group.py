"""The subcommands there are, of which only the one that is called is imported.

The modules of all of them would make every `did --help` wait for 40 ms.
"""

import importlib
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from didcli.commands import _options as options

COMMANDS = {
    "download": ("download", "Fetch a dataset, verify it, and print its path."),
    "train": ("train", "Train a model and write a run folder."),
    "eval": ("evaluate", "Score how disentangled the codes of a run are."),
    "traverse": ("traverse", "Draw what each dimension does; print the path of the picture."),
    "export": ("export", "Write encoder, generator or codes to files for other programs."),
    "compare": ("compare", "Train and score methods over seeds, and compare them."),
    "runs": ("runs", "List the runs there are, newest first, with their scores."),
}
"""Function and first line of the help of each command, by its name, which its module has, too."""


class LazyGroup(TyperGroup):
    """A group whose own commands only stand for their names and summaries."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if command and name else command, rest


def register(app: typer.Typer) -> None:
    """Add what stands for each command to an app of LazyGroup."""
    for name, (_, summary) in COMMANDS.items():
        app.command(name, help=summary)(_stand_in)


def load(name: str) -> Any:
    """The command itself, as click knows it."""
    function, _ = COMMANDS[name]
    # Plain help, as the app's: see didcli.cli.
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name)(getattr(importlib.import_module(f"didcli.commands.{name}"), function))
    command = typer.main.get_command(single)
    command.params += _parameters(_everywhere)
    return command


def _everywhere(debug: options.Debug = False, verbose: options.Verbose = False) -> None:
    """What every command takes beside its own, and `did` itself before one."""


def _parameters(function: Callable[..., None]) -> Any:
    holder = typer.Typer(add_completion=False)
    holder.command()(function)
    return typer.main.get_command(holder).params


def _stand_in() -> None:
    raise AssertionError("a command that was not loaded")
