"""`did download`: have a dataset on this disk, checked, and print where.

A module in `didcli/data/` says what there is by constants that cost nothing to read:

SOURCES         published alternatives, the preferred one first; each is a RemoteFile, or a tuple of
                them where several make up the set. Without it there is nothing to fetch.
Source          the Literal of what its `load` takes as `source`; with "rendered" where it can draw.
FACTOR_NAMES, FACTOR_SIZES      for the listing; left out where no factors are known.
RENDERED        for the listing: how near the drawn images are to the published ones.
ABOUT           for the listing: what the set is, where there are no files to say it.
KINDS           names of the sets, where there are several of one make, the default first. SOURCES
                then has as many entries, one for each of them, and `load` takes `kind`.

Files lie in the data folder itself, under their published names; a rendered set is kept there as
NAME-rendered-vN.bits.
"""

import hashlib
import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from math import prod
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from didcli import registry
from didcli.commands import _options as options
from didcli.errors import DataError, UsageError

if TYPE_CHECKING:
    from didcli.io.download import FetchResult
    from didcli.io.remote import RemoteFile

_NO_BREAK = "\xa0"
_SEE_ALL = "See what there is: did download --list"


class Source(StrEnum):
    """Where a set comes from."""

    OFFICIAL = "official"
    RENDERED = "rendered"


def download(
    name: Annotated[
        str | None,
        typer.Argument(help=f"One of: {', '.join(registry.names('data'))}.", show_default=False),
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="Which one, of a set of several kinds: toy, of mpi3d.")
    ] = None,
    source: Annotated[
        Source, typer.Option(help="The published file, or the set drawn here without a network.")
    ] = Source.OFFICIAL,
    force: Annotated[
        bool, typer.Option("--force", help="Fetch or draw it again, even if what is here is good.")
    ] = False,
    data_dir: options.DataDir = None,
    listing: Annotated[
        bool, typer.Option("--list", help="Print what there is, and what of it is here.")
    ] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Fetch a dataset, verify it, and print its path.

    \b
    did download dsprites                       the published file, resumed and verified
    did download dsprites --source rendered     the same images drawn here, without a network
    did download --list                         every dataset, and what of it is here

    An interrupted download goes on where it stopped. Proxies are taken from HTTPS_PROXY and
    HTTP_PROXY. With DID_MIRROR=URL, files are fetched from URL/NAME instead of their publishers,
    and verified all the same.
    """
    if name is not None:
        registry.check("data", name)
    elif not listing:
        raise UsageError("which dataset?", hint=f"Name one: did download dsprites. {_SEE_ALL}")
    options.say(f"did download: looking at {name or 'every dataset'} ...", quiet)

    from didcli.io.paths import data_dir as choose_folder

    folder = choose_folder(data_dir)
    if listing or name is None:
        names = registry.names("data") if name is None else [name]
        _print_listings([_offer(each) for each in names], folder, as_json)
        return
    offer = _of_kind(_offer(name), kind)
    bring = _render if source is Source.RENDERED else _fetch
    files = bring(offer, folder, force=force, quiet=quiet)
    if as_json:
        options.print_json(_result(offer.name, source, folder, files))
    else:
        for file in files:
            typer.echo(file.path)


@dataclass(frozen=True)
class _Offer:
    """What a data module offers; see the head of this file."""

    name: str
    module: ModuleType
    alternatives: "tuple[tuple[RemoteFile, ...], ...]"
    can_render: bool
    factors: dict[str, int]
    """Number of values of each."""
    kinds: tuple[str, ...]
    """Empty where there is but one; else as many as alternatives."""
    settings: dict[str, str]
    """What `load` takes to load the kind that was chosen."""


def _offer(name: str) -> _Offer:
    module = registry.load("data", name)
    alternatives = tuple(
        each if isinstance(each, tuple) else (each,) for each in getattr(module, "SOURCES", ())
    )
    names, sizes = getattr(module, "FACTOR_NAMES", ()), getattr(module, "FACTOR_SIZES", ())
    return _Offer(
        name,
        module,
        alternatives,
        can_render=Source.RENDERED in get_args(getattr(module, "Source", None)),
        factors=dict(zip(names, sizes, strict=True)),
        kinds=getattr(module, "KINDS", ()),
        settings={},
    )


def _of_kind(offer: _Offer, kind: str | None) -> _Offer:
    """What is offered of one kind, by default the first. Raises UsageError where it is unknown."""
    if not offer.kinds:
        if kind is not None:
            raise UsageError(f"{offer.name} comes in one kind", hint="Leave out --kind.")
        return offer
    chosen = kind or offer.kinds[0]
    if chosen not in offer.kinds:
        hint = registry.suggest(chosen, list(offer.kinds))
        raise UsageError(f"no kind {chosen!r} of {offer.name}", hint=hint)
    files = offer.alternatives[offer.kinds.index(chosen)]
    return replace(offer, alternatives=(files,), settings={"kind": chosen})


def _fetch(offer: _Offer, folder: Path, *, force: bool, quiet: bool) -> "list[FetchResult]":
    """The preferred published files: verified, and known to load."""
    if not offer.alternatives:
        hint = getattr(offer.module, "ABOUT", None) or _SEE_ALL
        raise UsageError(f"{offer.name} has no published file to fetch", hint=hint)
    from didcli.io.http.transfer import UnreachableError

    try:
        files = [
            _fetch_file(file, folder, force=force, quiet=quiet) for file in offer.alternatives[0]
        ]
    except UnreachableError as error:
        if not offer.can_render:
            raise
        raise DataError(
            str(error),
            hint="did train needs no download: the rendered set is used. "
            f"Render it now: did download {offer.name} --source rendered",
        ) from error
    # The right bytes may still be more than this machine can read or store: better known now than
    # when training starts.
    with options.data_progress(quiet) as on_data:
        offer.module.load(**offer.settings, source="official", data_dir=folder, on_progress=on_data)
    return files


def _fetch_file(file: "RemoteFile", folder: Path, *, force: bool, quiet: bool) -> "FetchResult":
    from didcli.io.progress import progress

    # Shown before the HTTP client is imported, which takes longer than a user should see nothing.
    with progress(file.name, total=file.size, unit="B", quiet=quiet) as update:
        from didcli.io.download import fetch
        from didcli.io.published import unverified

        result = fetch(
            file,
            folder,
            force=force,
            on_progress=lambda done, total: update(done, total=total),
            on_note=lambda text: options.say(text, quiet),
        )
    if result.difference is not None:
        # Even when quiet: nobody should take it for what was published.
        options.say(f"warning: {unverified(file.name, result.difference)}")
        return result
    state = "fetched and verified" if result.downloaded else "here already, verified"
    options.say(f"{file.name}: {state}", quiet)
    return result


def _render(offer: _Offer, folder: Path, *, force: bool, quiet: bool) -> "list[FetchResult]":
    """The set drawn by this program; a list of one."""
    if not offer.can_render:
        raise UsageError(f"{offer.name} cannot be drawn, only fetched", hint=_SEE_ALL)
    from didcli.io.download import FetchResult

    if force:
        for path in _rendered(offer.name, folder):
            path.unlink()
    with options.data_progress(quiet) as on_data:
        dataset = offer.module.load(source="rendered", data_dir=folder, on_progress=on_data)
    path = folder / f"{offer.name}-{dataset.source.replace(' ', '-')}.bits"
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return [FetchResult(path, downloaded=False, size=path.stat().st_size, sha256=sha256)]


def _rendered(name: str, folder: Path) -> list[Path]:
    """What is here of the rendered set, of any version."""
    return sorted(folder.glob(f"{name}-rendered-v*.bits"))


def _result(name: str, source: Source, folder: Path, files: "list[FetchResult]") -> dict[str, Any]:
    """A single file is described at the top too; of several, the top has the folder and the sum."""
    described = [
        {
            "path": str(file.path),
            "bytes": file.size,
            "sha256": file.sha256,
            "downloaded": file.downloaded,
        }
        for file in files
    ]
    whole = (
        described[0]
        if len(described) == 1
        else {
            "path": str(folder),
            "bytes": sum(file.size for file in files),
            "sha256": None,
            "downloaded": any(file.downloaded for file in files),
        }
    )
    return {"schema": 1, "name": name, "source": source.value, **whole, "files": described}


def _listing(offer: _Offer, folder: Path) -> dict[str, Any]:
    """What there is of a set. `here` only says that a file is there: --list verifies nothing."""
    files = [
        {
            "name": file.name,
            "url": file.url,
            "bytes": file.size,
            "sha256": file.sha256,
            "md5": file.md5,
            "licence": file.licence,
            "default": alternative is offer.alternatives[0],
            "path": str(folder / file.name),
            "here": (folder / file.name).is_file(),
        }
        for alternative in offer.alternatives
        for file in alternative
    ]
    return {
        "name": offer.name,
        "about": getattr(offer.module, "ABOUT", None),
        "images": prod(offer.factors.values()) if offer.factors else None,
        "factors": offer.factors,
        "source_here": _source_here(offer, folder),
        "files": files,
        "can_render": offer.can_render,
        "rendered_means": getattr(offer.module, "RENDERED", None),
        "rendered": [str(path) for path in _rendered(offer.name, folder)],
    }


def _source_here(offer: _Offer, folder: Path) -> str | None:
    """What `did train` finds in the folder; None where it would have to be fetched or drawn."""
    for alternative in offer.alternatives:
        if all((folder / file.name).is_file() for file in alternative):
            return Source.OFFICIAL.value
    return Source.RENDERED.value if _rendered(offer.name, folder) else None


def _print_listings(offers: list[_Offer], folder: Path, as_json: bool) -> None:
    if as_json:
        listings = [_listing(offer, folder) for offer in offers]
        options.print_json({"schema": 1, "data_dir": str(folder), "datasets": listings})
        return
    # Of a pipe it is 80; longer lines than 100 are hard to read.
    width = min(shutil.get_terminal_size().columns, 100)
    for offer in offers:
        typer.echo(offer.name)
        for label, text in _described(offer, folder):
            indent = f"  {label:9} "
            for line in textwrap.wrap(
                text,
                max(width, 40),
                initial_indent=indent,
                subsequent_indent=" " * len(indent),
                break_long_words=False,
                break_on_hyphens=False,
            ):
                typer.echo(line.replace(_NO_BREAK, " "))


def _described(offer: _Offer, folder: Path) -> Iterator[tuple[str, str]]:
    """A listing for people: (label, text)."""
    listing = _listing(offer, folder)
    if listing["about"]:
        yield "what", listing["about"]
    if listing["factors"]:
        each = ", of each kind" if offer.kinds else ""
        yield "images", f"{listing['images']:,}{each}"
        # A factor and its number of values stay on one line.
        factors = ", ".join(f"{name}{_NO_BREAK}{size}" for name, size in listing["factors"].items())
        yield "factors", factors
    for files in offer.alternatives:
        yield "official", _described_files(files, folder)
    if offer.can_render:
        yield "rendered", listing["rendered_means"] or "drawn on this machine"
    if offer.alternatives or offer.can_render:
        yield "here", _described_here(offer, listing["source_here"])


def _described_files(files: "tuple[RemoteFile, ...]", folder: Path) -> str:
    """`set.h5, 267.6 MB, Apache-2.0: not here`; of several files their number and sum."""
    from didcli.io.progress import amount

    name = files[0].name if len(files) == 1 else f"{len(files)} files"
    sizes = [file.size for file in files if file.size is not None]
    size = amount(sum(sizes), "B") if len(sizes) == len(files) else "size not published"
    present = sum((folder / file.name).is_file() for file in files)
    partly = f"{present} of {len(files)} here"
    here = {0: "not here", len(files): "here"}.get(present, partly)
    licences = "; ".join(dict.fromkeys(file.licence for file in files))
    return f"{name}, {size}, {licences}: {here}"


def _described_here(offer: _Offer, source: str | None) -> str:
    if source is not None:
        return source
    if offer.can_render:
        return "nothing yet: rendered when first needed"
    return f"nothing: did download {offer.name}" + (" --kind KIND" if offer.kinds else "")
