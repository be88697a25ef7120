"""Every solid against an oracle: the first of many small steps along the ray that is inside."""

import numpy as np
import pytest

from didcli.render import _raycast as raycast

STEP = 2e-3


def inside_box(x, y, z):
    return (np.abs(x - 0.1) < 0.5) & (np.abs(y + 0.2) < 0.4) & (np.abs(z - 0.5) < 0.3)


def inside_sphere(x, y, z):
    return (x - 0.2) ** 2 + (y - 0.1) ** 2 + (z - 0.5) ** 2 < 0.6**2


def inside_cylinder(x, y, z):
    return (x**2 + y**2 < 0.5**2) & (z > 0) & (z < 1.1)


def cylinder(origin, direction):
    return raycast.nearest(
        raycast.tube(origin, direction, 0.5, 0.0, 1.1), raycast.disc(origin, direction, 0.5, 1.1)
    )


SOLIDS = pytest.mark.parametrize(
    ("cast", "inside"),
    [
        (
            lambda o, d: raycast.box(o, d, np.array([-0.4, -0.6, 0.2]), np.array([0.6, 0.2, 0.8])),
            inside_box,
        ),
        (lambda o, d: raycast.sphere(o, d, np.array([0.2, 0.1, 0.5]), 0.6), inside_sphere),
        (cylinder, inside_cylinder),
    ],
    ids=["box", "sphere", "cylinder"],
)


def rays(count):
    """From a ring above towards points about the solids: some hit, some miss."""
    rng = np.random.default_rng(0)
    turn = rng.uniform(0, 2 * np.pi, count)
    origins = np.stack([3 * np.cos(turn), 3 * np.sin(turn), rng.uniform(1.2, 3, count)], axis=1)
    directions = rng.uniform((-0.9, -0.9, -0.4), (0.9, 0.9, 1.4), (count, 3)) - origins
    return origins, directions / np.linalg.norm(directions, axis=1, keepdims=True)


@SOLIDS
def test_rays_enter_where_small_steps_along_them_do(cast, inside):
    origins, directions = rays(400)
    steps = np.arange(0, 6, STEP)
    points = origins[:, np.newaxis] + steps[:, np.newaxis] * directions[:, np.newaxis]
    within = inside(*np.moveaxis(points, -1, 0))
    distance = cast(origins, directions).distance
    hit = within.any(axis=1)
    assert 0.2 < hit.mean() < 0.8
    # Steps may pass over a corner that a ray only grazes.
    assert np.count_nonzero(np.isfinite(distance) != hit) <= 2
    both = hit & np.isfinite(distance)
    assert np.abs(distance[both] - steps[within[both].argmax(axis=1)]).max() <= STEP


@SOLIDS
def test_normals_have_unit_length_and_point_out(cast, inside):
    origins, directions = rays(400)
    hits = cast(origins, directions)
    hit = np.isfinite(hits.distance)
    points = (origins + hits.distance[:, np.newaxis] * directions)[hit]
    normal = hits.normal[hit]
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1)
    assert not inside(*(points + 1e-6 * normal).T).any()
    assert inside(*(points - 1e-4 * normal).T).mean() > 0.99


@SOLIDS
def test_what_lies_behind_is_not_hit(cast, inside):
    origins, directions = rays(400)
    assert np.isinf(cast(origins, -directions).distance).all()


@pytest.mark.parametrize("direction", [(1, 0, 0), (0, -1, 0), (0, 0, -1)])
def test_rays_along_the_axes_divide_by_zero_in_peace(direction):
    origin = np.array([0.1, -0.1, 0.5]) - 4.0 * np.array(direction)
    hits = raycast.box(origin, np.array(direction, float), np.full(3, -1.0), np.full(3, 1.0))
    np.testing.assert_allclose(hits.normal, -np.array(direction, float))
    assert np.isfinite(hits.distance)
    assert np.isfinite(raycast.sphere(origin, np.array(direction), np.zeros(3), 1.0).distance)


def test_the_nearest_of_several_wins_with_its_normal():
    origin, direction = np.array([0.0, 0.0, 5.0]), np.array([0.0, 0.0, -1.0])
    low, high = (raycast.disc(origin, direction, 1.0, z) for z in (1.0, 2.0))
    assert raycast.nearest(low, high).distance == pytest.approx(3)
    assert raycast.nearest(high, low).distance == pytest.approx(3)
    np.testing.assert_array_equal(raycast.nearest(low, high).normal, [0, 0, 1])
