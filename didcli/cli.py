"""The `did` command: registers subcommands, and turns errors and signals into exit codes."""

import errno
import os
import signal
import sys
import traceback
from typing import Annotated, Any

import typer

import didcli
from didcli.commands import _malloc, _signals, _streams
from didcli.commands import _options as options
from didcli.commands._group import COMMANDS, LazyGroup, register
from didcli.commands._memory import memory_errors
from didcli.errors import DidError, FailedElsewhereError, StorageError, UsageError

# Plain help: drawing it with rich would cost 200 ms.
app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
register(app)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"did {didcli.__version__}")
        raise typer.Exit


@app.callback()
def did(
    version: Annotated[  # its callback does the work
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    debug: options.Debug = False,
    verbose: options.Verbose = False,
) -> None:
    """Learn, measure, look at and export disentangled representations of images.

    \b
    did train                   train on dSprites, in minutes; prints the run folder
    did eval                    score the latest run: MIG, DCI, SAP and more
    did traverse --dim 3        what dimension 3 of the latest run does
    did export --what codes --format jsonl -o - | jq .
    """


# Typer has carried its own copy of click at times and not at others: the base class of its usage
# errors is found from one that it always exports.
ClickException: type[Exception] = typer.BadParameter.__mro__[2]

STORAGE_HINTS = {
    errno.ENOSPC: "free some space, or write elsewhere",
    errno.EDQUOT: "free some space of your quota, or write elsewhere",
    errno.EACCES: "see who may read and write it: ls -ld PATH",
    errno.EROFS: "write elsewhere: that disk is read-only",
    errno.ENOENT: "see whether the path is as meant, and still there",
    errno.EMFILE: "allow more open files: ulimit -n 4096",
}
"""What mends an error of the system that no command has words of its own for."""


def main() -> None:
    """Run the command line and exit; see `didcli.errors` for the exit codes."""
    _signals.exit_on_signals()
    _streams.mend()
    _malloc.keep_freed_memory()
    if "_DID_COMPLETE" in os.environ:  # the shell asks for completions
        app()
    command = _command()
    try:
        # Not command.main(), which would exit 1 on Ctrl-C and on a closed pipe.
        with command.make_context("did", sys.argv[1:]) as context, memory_errors(context):
            command.invoke(context)
        sys.stdout.flush()  # a closed pipe shows here at the latest
    except typer.Exit as leaving:
        raise SystemExit(leaving.exit_code) from None
    except ClickException as error:
        if len(sys.argv) == 1:  # the message is the whole help
            error.show()  # type: ignore[attr-defined]
            raise SystemExit(UsageError.exit_code) from None
        _fail(_usage_problem(error), UsageError.exit_code)
    except FailedElsewhereError as error:
        raise SystemExit(error.exit_code) from None
    except DidError as error:
        _fail(f"error: {error}\nhint: {error.hint}", error.exit_code)
    except BrokenPipeError:
        _close_pipe()
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 128 + signal.SIGINT)
    except OSError as error:
        if error.errno == errno.EPIPE:
            _close_pipe()
        where = f": {error.filename}" if error.filename else ""
        hint = STORAGE_HINTS.get(error.errno or 0, "run it again with --debug to see where")
        _fail(f"error: {error.strerror or error}{where}\nhint: {hint}", StorageError.exit_code)
    except Exception as error:
        _fail(
            f"error: {type(error).__name__}: {error} (this is a bug in did)\n"
            "hint: run it again with --debug for a traceback to report",
            1,
        )


def _command() -> Any:
    command = typer.main.get_command(app)
    for parameter in command.get_params(typer.Context(command, **command.context_settings)):
        # Typer's own flags (help, completion) default to None, and to take that for a bool it
        # would import pydantic, which costs 140 ms.
        if getattr(parameter, "is_flag", False) and parameter.default is None:
            parameter.default = False
    return command


def _usage_problem(error: Any) -> str:
    """What click found wrong, in the form of our own errors; it would print the usage as well."""
    message = " ".join(error.format_message().split()).removesuffix(".")
    message = message.replace(": Value error, ", ": ")  # pydantic's word for what we raise
    called = next((f"did {word}" for word in sys.argv[1:] if word in COMMANDS), "did")
    return f"error: {message[:1].lower()}{message[1:]}\nhint: {called} --help shows what it takes"


def _fail(text: str, code: int) -> None:
    if "--debug" in sys.argv:
        traceback.print_exc()
    typer.echo(text, err=True)
    raise SystemExit(code)


def _close_pipe() -> None:
    """End quietly, as a program does whose reader has gone: `did export -o - | head -1`."""
    # Python would complain once more when it flushes stdout on its way out.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(128 + signal.SIGPIPE)
