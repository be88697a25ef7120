"""The room of 3DShapes: what its rays meet, and the light there.

Lengths are in units of the height of the camera. The object stands at the origin; x points right,
y away from the camera while it has not turned, z up. The light is MuJoCo's, which drew the
originals: ambient light, a headlight of parallel rays, and a spot light whose axis and falloff
turn out to be its defaults. Numbers without a reason next to them were fitted.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from didcli.render._raycast import Hits, Scalars, Vectors, box, disc, nearest, sphere, tube

FLOOR, WALL, OBJECT, SKY = range(4)
"""What a ray can meet. The first three have a colour that varies."""

_FIELD_OF_VIEW = np.radians(50.0)
_CAMERA_DISTANCE = 3.285
_ROOM_HALF_WIDTH = 4.692
_WALL_HEIGHT = 2.662
_GAP = 0.0133  # between floor and object

# At scale 1.
_CUBE_HALF_SIDE = 0.46
_CYLINDER_RADIUS, _CYLINDER_HEIGHT = 0.4932, 0.9864
_SPHERE_RADIUS = 0.5578
_CAPSULE_RADIUS, _CAPSULE_STRAIGHT = 0.4243, 0.8604

# Floor, back wall, right wall and left wall, seen from inside: where normal . point = offset.
_NORMALS = np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
_OFFSETS = -_ROOM_HALF_WIDTH * np.array([0.0, 1.0, 1.0, 1.0])

# Light on a surface, as a multiple of its colour.
_AMBIENT = 0.348
_HEADLIGHT = 0.6  # at right angles, from the direction of the camera
_SPOT = 0.93  # likewise, in the axis of the spot light
_SPOT_POSITION = np.array([-1.97, 0.44, 9.98])
_SPOT_AXIS = np.array([0.0, 0.0, -1.0])
_SPOT_EXPONENT = 10

# White light off the object, wherever it faces the spot light: off a glossy surface whose highlight
# has no falloff. The round shapes were polygons; a facet as wide as this blurs its edge.
_GLOSS = 0.12
_FACET = 0.2

# The one feature of the walls' texture that is larger than a pixel: a slanted smudge.
_SMUDGE = 0.05  # of the light, which it takes away
_SMUDGE_CENTRES = np.array([0.15, -2.42, 2.85])  # to the right; of back, right and left wall
_SMUDGE_HEIGHT = 1.3
_SMUDGE_SLANT = np.radians(-50.0)
_SMUDGE_HALF_AXES = np.array([0.5, 0.22])


@dataclass(frozen=True)
class View:
    """What rays meet, and the light there."""

    material: NDArray[np.int64]
    """(H, W), one of FLOOR, WALL, OBJECT, SKY."""
    shade: Scalars
    """(H, W), coloured light as a multiple of the material's colour; may exceed 1."""
    gloss: Scalars
    """(H, W), white light, added to `shade` times the colour."""


def view(shape: str, scale: float, degrees: float, side: int) -> View:
    """Cast one ray through the centre of each of `side` x `side` pixels.

    shape: cube, cylinder, sphere or capsule. degrees: how far the camera has turned about the
    object, anticlockwise as seen from above.
    """
    room = _room(degrees, side)
    eye, rays = _camera(degrees, side)
    lift = np.array([0.0, 0.0, _GAP])
    solid = _solid(shape, scale, eye - lift, rays)
    on_object = solid.distance < room.distance
    material = np.where(on_object, OBJECT, room.material)

    # The shadow: walls are too far away for it.
    floor = material == FLOOR
    to_light = _SPOT_POSITION - room.points[floor]
    blocked = _solid(shape, scale, room.points[floor] - lift, to_light).distance < np.inf
    shade = room.shade.copy()
    shade[floor] -= np.where(blocked, room.spot[floor], 0.0)

    normal = solid.normal[on_object]
    facing, spot = _spot(eye + solid.distance[on_object][:, np.newaxis] * rays[on_object], normal)
    shade[on_object] = _steady(normal, degrees) + spot
    gloss = np.zeros_like(shade)
    gloss[on_object] = _gloss(facing, normal)
    return View(material, shade, gloss)


@dataclass(frozen=True)
class _Room:
    """The room without the object."""

    distance: Scalars
    """(H, W), distances along the rays of the camera."""
    points: Vectors
    """(H, W, 3), ends of those rays."""
    material: NDArray[np.int64]
    shade: Scalars
    """(H, W), light as in `View`."""
    spot: Scalars
    """(H, W), the spot light's part of `shade`, before the texture."""


@lru_cache(maxsize=15)
def _room(degrees: float, side: int) -> _Room:
    eye, rays = _camera(degrees, side)
    # Seen from inside, what a ray ends at is the nearest of the planes that it runs towards.
    speed = -rays @ _NORMALS.T
    with np.errstate(divide="ignore"):
        distances = np.where(speed > 0, (_NORMALS @ eye - _OFFSETS) / speed, np.inf)
    plane = distances.argmin(axis=-1)
    distance = distances.min(axis=-1)
    points = eye + distance[..., np.newaxis] * rays
    above = points[..., 2] > _WALL_HEIGHT
    material = np.where(plane == 0, FLOOR, np.where(above, SKY, WALL))
    normal = _NORMALS[plane]
    _, spot = _spot(points, normal)
    shade = (_steady(normal, degrees) + spot) * _texture(points, plane)
    return _Room(distance, points, material, shade, spot)


def _camera(degrees: float, side: int) -> tuple[Vectors, Vectors]:
    """Position of the camera, (3,), which looks level, and rays, (side, side, 3), top row first."""
    turn = np.radians(degrees)
    right = np.array([np.cos(turn), np.sin(turn), 0.0])
    ahead = np.array([-np.sin(turn), np.cos(turn), 0.0])
    up = np.array([0.0, 0.0, 1.0])
    steps = np.tan(_FIELD_OF_VIEW / 2) * ((2 * np.arange(side) + 1) / side - 1)
    rays = ahead + steps[:, np.newaxis] * right - steps[:, np.newaxis, np.newaxis] * up
    return up - _CAMERA_DISTANCE * ahead, rays


def _solid(shape: str, scale: float, origin: Vectors, direction: Vectors) -> Hits:
    """The object, standing on z = 0."""
    if shape == "cube":
        half = scale * _CUBE_HALF_SIDE
        low, high = np.array([-half, -half, 0.0]), np.array([half, half, 2 * half])
        return box(origin, direction, low, high)
    if shape == "cylinder":
        radius, height = scale * _CYLINDER_RADIUS, scale * _CYLINDER_HEIGHT
        side = tube(origin, direction, radius, 0.0, height)
        return nearest(side, disc(origin, direction, radius, height))
    if shape == "sphere":
        radius = scale * _SPHERE_RADIUS
        return sphere(origin, direction, np.array([0.0, 0.0, radius]), radius)
    if shape == "capsule":
        radius, straight = scale * _CAPSULE_RADIUS, scale * _CAPSULE_STRAIGHT
        low, high = np.array([0.0, 0.0, radius]), np.array([0.0, 0.0, radius + straight])
        return nearest(
            tube(origin, direction, radius, low[2], high[2]),
            sphere(origin, direction, low, radius),
            sphere(origin, direction, high, radius),
        )
    raise ValueError(f"no shape {shape!r}")


def _steady(normal: Vectors, degrees: float) -> Scalars:
    """Light that casts no shadow: ambient, and from the direction of the camera."""
    turn = np.radians(degrees)
    to_camera = np.array([np.sin(turn), -np.cos(turn), 0.0])
    light: Scalars = _AMBIENT + _HEADLIGHT * np.maximum(normal @ to_camera, 0.0)
    return light


def _spot(points: Vectors, normal: Vectors) -> tuple[Scalars, Scalars]:
    """How much a surface faces the spot light, -1..1, and what light it gets if unobstructed."""
    to_light = _SPOT_POSITION - points
    to_light /= np.linalg.norm(to_light, axis=-1, keepdims=True)
    facing: Scalars = np.einsum("...i,...i->...", normal, to_light)
    cone = np.maximum(-to_light @ _SPOT_AXIS, 0.0) ** _SPOT_EXPONENT
    return facing, _SPOT * cone * np.maximum(facing, 0.0)


def _gloss(facing: Scalars, normal: Vectors) -> Scalars:
    """White light off the object, (...), where it faces the spot light; see `_GLOSS`."""
    # Where the surface is vertical the facets stand edge by edge, and nothing is blurred.
    blurred = np.clip(0.5 + facing / _FACET, 0.0, 1.0)
    gloss: Scalars = _GLOSS * np.where(normal[..., 2] == 0, facing > 0, blurred)
    return gloss


def _texture(points: Vectors, plane: NDArray[np.int64]) -> Scalars:
    """Factors of the light, (...). plane: (...), 0 for the floor, else as in `_NORMALS`."""
    x, y = points[..., 0], points[..., 1]
    along = np.select([plane == 1, plane == 2, plane == 3], [x, -y, y])
    # The texture is as wide as it is high, and repeated. (The floor takes some wall's centre here
    # and is left out at the end.)
    offset = along - _SMUDGE_CENTRES[plane - 1] + _WALL_HEIGHT / 2
    across, up = offset % _WALL_HEIGHT - _WALL_HEIGHT / 2, points[..., 2] - _SMUDGE_HEIGHT
    cos, sin = np.cos(_SMUDGE_SLANT), np.sin(_SMUDGE_SLANT)
    long, short = cos * across + sin * up, cos * up - sin * across
    smudged = (long / _SMUDGE_HALF_AXES[0]) ** 2 + (short / _SMUDGE_HALF_AXES[1]) ** 2 < 1
    texture: Scalars = np.where(smudged & (plane > 0), 1 - _SMUDGE, 1.0)
    return texture
