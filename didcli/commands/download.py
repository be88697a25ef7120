"""`did download`: have a dataset on this disk, checked, and print where."""

import hashlib
import shutil
import textwrap
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from didcli import registry
from didcli.commands import _options as options
from didcli.errors import DataError, UsageError

if TYPE_CHECKING:
    from didcli.engine.offers import Offer
    from didcli.io.download import FetchResult
    from didcli.io.remote import RemoteFile

_NO_BREAK = "\xa0"


class Source(StrEnum):
    """Where a set comes from."""

    official = "official"
    rendered = "rendered"


def download(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="Such as dsprites: --list names all.", show_default=False
        ),
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="Which one, of a set of several kinds: toy, of mpi3d.")
    ] = None,
    source: Annotated[
        Source, typer.Option(help="The published file, or the set drawn here without a network.")
    ] = Source.official,
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
    did download dsprites --source rendered     the set drawn here, without a network
    did download --list                         every dataset, and what of it is here

    An interrupted download goes on where it stopped. Proxies are taken from HTTPS_PROXY and
    HTTP_PROXY. With DID_MIRROR=URL, files are fetched from URL/NAME instead of their publishers,
    and verified all the same.
    """
    from didcli.engine import offers

    if name is not None:
        registry.check("data", name)
    elif not listing:
        raise UsageError(
            "which dataset?", hint=f"Name one: did download dsprites. {offers.SEE_ALL}"
        )
    options.say(f"did download: looking at {name or 'every dataset'} ...", quiet)

    from didcli.io.paths import data_dir as choose_folder

    folder = choose_folder(data_dir)
    if listing or name is None:
        names = registry.names("data") if name is None else [name]
        _print_listings([offers.offer_of(each) for each in names], folder, as_json)
        return
    offer = offers.of_kind(offers.offer_of(name), kind)
    bring = _render if source is Source.rendered else _fetch
    files = bring(offer, folder, force=force, quiet=quiet)
    if as_json:
        options.print_json(_result(offer.name, source, folder, files))
    else:
        for file in files:
            typer.echo(file.path)


def _fetch(offer: "Offer", folder: Path, *, force: bool, quiet: bool) -> "list[FetchResult]":
    """The preferred published files: verified, and known to load."""
    from didcli.engine import offers

    if not offer.alternatives:
        hint = getattr(offer.module, "ABOUT", None) or offers.SEE_ALL
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


def _render(offer: "Offer", folder: Path, *, force: bool, quiet: bool) -> "list[FetchResult]":
    """The set drawn by this program; a list of one."""
    from didcli.engine import offers

    if not offer.can_render:
        raise UsageError(f"{offer.name} cannot be drawn, only fetched", hint=offers.SEE_ALL)
    from didcli.io.download import FetchResult
    from didcli.io.paths import drawn_file

    if force:
        for path in offers.rendered_files(offer.name, folder):
            path.unlink()
    with options.data_progress(quiet) as on_data:
        dataset = offer.module.load(source="rendered", data_dir=folder, on_progress=on_data)
    path = folder / drawn_file(offer.name, dataset.source)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return [FetchResult(path, downloaded=False, size=path.stat().st_size, sha256=sha256)]


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


def _print_listings(offered: "list[Offer]", folder: Path, as_json: bool) -> None:
    from didcli.engine import offers

    if as_json:
        listings = [offers.listing_of(offer, folder) for offer in offered]
        options.print_json({"schema": 1, "data_dir": str(folder), "datasets": listings})
        return
    # Of a pipe it is 80; longer lines than 100 are hard to read.
    width = min(shutil.get_terminal_size().columns, 100)
    for offer in offered:
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


def _described(offer: "Offer", folder: Path) -> Iterator[tuple[str, str]]:
    """A listing for people: (label, text)."""
    from didcli.engine import offers

    listing = offers.listing_of(offer, folder)
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
        yield "here", _described_here(offer, listing["source_here"], folder)


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


def _described_here(offer: "Offer", source: str | None, folder: Path) -> str:
    from didcli.engine import offers

    if kinds := offers.kinds_here(offer, folder):
        return f"official, of kind {', '.join(kinds)}"
    if source is not None:
        return source
    if offer.can_render:
        return "nothing yet: rendered when first needed"
    return f"nothing: did download {offer.name}" + (" --kind KIND" if offer.kinds else "")
