"""What there is to fetch or to draw of each dataset, and what of it is here.

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

from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_args

from didcli import registry
from didcli.errors import UsageError
from didcli.io.paths import drawn_file

if TYPE_CHECKING:
    from didcli.io.remote import RemoteFile

OFFICIAL, RENDERED = "official", "rendered"
"""Sources that a set comes from."""
SEE_ALL = "See what there is: did download --list"


@dataclass(frozen=True)
class Offer:
    """What a data module offers; see the head of this module."""

    name: str
    module: ModuleType
    alternatives: "tuple[tuple[RemoteFile, ...], ...]"
    can_render: bool
    factors: dict[str, int]
    """Number of values of each factor."""
    kinds: tuple[str, ...]
    """Names of the kinds, as many as alternatives; empty where there is but one."""
    settings: dict[str, str]
    """What `load` takes to load the kind that was chosen."""


def offer_of(name: str) -> Offer:
    module = registry.load("data", name)
    alternatives = tuple(
        each if isinstance(each, tuple) else (each,) for each in getattr(module, "SOURCES", ())
    )
    names, sizes = getattr(module, "FACTOR_NAMES", ()), getattr(module, "FACTOR_SIZES", ())
    return Offer(
        name,
        module,
        alternatives,
        can_render=RENDERED in get_args(getattr(module, "Source", None)),
        factors=dict(zip(names, sizes, strict=True)),
        kinds=getattr(module, "KINDS", ()),
        settings={},
    )


def of_kind(offer: Offer, kind: str | None) -> Offer:
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


def rendered_files(name: str, folder: Path) -> list[Path]:
    """What is here of the rendered set, of any version."""
    return sorted(folder.glob(drawn_file(name, "rendered v*")))


def listing_of(offer: Offer, folder: Path) -> dict[str, Any]:
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
        "source_here": source_here(offer, folder),
        "files": files,
        "can_render": offer.can_render,
        "rendered_means": getattr(offer.module, "RENDERED", None),
        "rendered": [str(path) for path in rendered_files(offer.name, folder)],
    }


def source_here(offer: Offer, folder: Path) -> str | None:
    """What `did train` finds in the folder, of several kinds for the default one; None where it
    would have to be fetched or drawn."""
    if any(_is_here(files, folder) for files in of_kind(offer, None).alternatives):
        return OFFICIAL
    return RENDERED if rendered_files(offer.name, folder) else None


def kinds_here(offer: Offer, folder: Path) -> list[str]:
    """Those whose files are all in the folder; none of a set that comes in one kind."""
    kinds = zip(offer.kinds, offer.alternatives, strict=False)
    return [kind for kind, files in kinds if _is_here(files, folder)]


def _is_here(files: "tuple[RemoteFile, ...]", folder: Path) -> bool:
    return all((folder / file.name).is_file() for file in files)
