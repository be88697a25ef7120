"""Intersections of rays with simple solids.

Rays are an origin and a direction, (..., 3) each, shapes that broadcast against each other. Every
function returns `Hits`: the nearest point of entry in front of the origin. Directions need not
have unit length; distances are in multiples of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float64]
"""(..., 3): x, y and z, which points up."""
Scalars = NDArray[np.float64]

# Hits nearer than this are the surface from which the ray starts.
_NEAREST = 1e-6


@dataclass(frozen=True)
class Hits:
    """Points at which rays enter a solid."""

    distance: Scalars
    """(...) distances, infinite for a ray that misses."""
    normal: Vectors
    """(..., 3) normals, pointing outwards, of unit length; meaningless for a ray that misses."""


def nearest(first: Hits, *others: Hits) -> Hits:
    """The hits that rays meet first."""
    for other in others:
        closer = other.distance < first.distance
        first = Hits(
            np.where(closer, other.distance, first.distance),
            np.where(closer[..., np.newaxis], other.normal, first.normal),
        )
    return first


def box(origin: Vectors, direction: Vectors, low: Vectors, high: Vectors) -> Hits:
    """An axis-aligned box between the corners `low` and `high`, (3,) each.

    Kay and Kajiya 1986: between the last entry into a slab and the first exit from one.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        to_low, to_high = (low - origin) / direction, (high - origin) / direction
    # fmin and fmax pass over 0 / 0: a ray within the face of a slab.
    entries, exits = np.fmin(to_low, to_high), np.fmax(to_low, to_high)
    slab = entries.argmax(axis=-1)
    entry = entries.max(axis=-1)
    normal = np.where(np.arange(3) == slab[..., np.newaxis], -np.sign(direction), 0.0)
    return _hits(entry, entry < exits.min(axis=-1), normal)


def sphere(origin: Vectors, direction: Vectors, centre: Vectors, radius: float) -> Hits:
    """A sphere about `centre`, (3,)."""
    start = origin - centre
    entry, meets = _quadratic(
        _dot(direction, direction), _dot(start, direction), _dot(start, start) - radius**2
    )
    return _hits(entry, meets, (start + entry[..., np.newaxis] * direction) / radius)


def tube(origin: Vectors, direction: Vectors, radius: float, low: float, high: float) -> Hits:
    """The side of an upright cylinder about the z axis, from z = `low` to `high`."""
    start, run = origin[..., :2], direction[..., :2]
    entry, meets = _quadratic(_dot(run, run), _dot(start, run), _dot(start, start) - radius**2)
    point = origin + entry[..., np.newaxis] * direction
    meets &= (point[..., 2] >= low) & (point[..., 2] <= high)
    return _hits(entry, meets, point * (1, 1, 0) / radius)


def disc(origin: Vectors, direction: Vectors, radius: float, height: float) -> Hits:
    """A horizontal disc about the z axis, seen from above."""
    with np.errstate(divide="ignore", invalid="ignore"):
        entry = (height - origin[..., 2]) / direction[..., 2]
        point = origin + entry[..., np.newaxis] * direction
        meets = (direction[..., 2] < 0) & (_dot(point[..., :2], point[..., :2]) <= radius**2)
    return _hits(entry, meets, np.broadcast_to([0.0, 0.0, 1.0], point.shape))


def _quadratic(a: Scalars, half_b: Scalars, c: Scalars) -> tuple[Scalars, NDArray[np.bool_]]:
    """The smaller root of a t^2 + 2 half_b t + c, and whether there is one; 0 where not."""
    discriminant = half_b**2 - a * c
    meets = (discriminant >= 0) & (a > 0)
    root = -half_b - np.sqrt(np.where(meets, discriminant, 0.0))
    return np.where(meets, root / np.where(meets, a, 1.0), 0.0), meets


def _hits(entry: Scalars, meets: NDArray[np.bool_], normal: Vectors) -> Hits:
    return Hits(np.where(meets & (entry > _NEAREST), entry, np.inf), normal)


def _dot(a: NDArray[np.float64], b: NDArray[np.float64]) -> Scalars:
    product: Scalars = np.einsum("...i,...i->...", a, b)
    return product
