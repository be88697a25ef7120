from pathlib import Path

import numpy as np
import pytest
from drawn_images import dsprites_images

from didcli.render import dsprites

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "dsprites_frames.npz"
PUBLISHED_MEAN = 0.042494423521889584  # of all pixels of the official set
SIZES = (3, 6, 40, 32, 32)


def row(*factors: int) -> int:
    return int(np.ravel_multi_index(factors, SIZES))


def draw(*factors: int) -> np.ndarray:
    return dsprites_images(np.array([row(*factors)]))[0]


def winding(polygon: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(V, 2), (P, 2) -> (P,): turns of the outline about each point; 0 outside."""
    to_vertex = polygon - points[:, np.newaxis]
    angles = np.arctan2(to_vertex[..., 1], to_vertex[..., 0])
    steps = np.roll(angles, -1, axis=1) - angles
    return np.abs(np.rint(((steps + np.pi) % (2 * np.pi) - np.pi).sum(axis=1) / (2 * np.pi)))


def posed(shape: str, scale: float, angle: float, x: float, y: float) -> np.ndarray:
    """The outline turned anticlockwise and moved, with complex numbers for the turn."""
    turned = (dsprites.outline(shape) * (1, -1)) @ (1, 1j) * np.exp(1j * angle) * scale
    return np.stack([turned.real + 15.5 + 32 * x, -turned.imag + 15.5 + 32 * y], axis=1)


@pytest.mark.skipif(not REFERENCE.exists(), reason=f"there is no {REFERENCE.name} to compare with")
@pytest.mark.parametrize("shape", [0, 1, 2])
def test_published_frames_agree_to_the_pixel(shape):
    with np.load(REFERENCE, allow_pickle=False) as reference:
        chosen = reference["factors"][:, 0] == shape
        frames, factors = reference["images"][chosen], reference["factors"][chosen]
    drawn = dsprites_images(np.ravel_multi_index(factors.T, SIZES))
    assert np.count_nonzero(drawn != frames) == 0


def test_mean_of_the_whole_set_is_the_published_one():
    bits_of_byte = np.unpackbits(np.arange(256, dtype=np.uint8)[:, np.newaxis], axis=1).sum(axis=1)
    shapes = set()
    white = 0
    for block in dsprites.blocks():
        shapes.add((block.shape, block.dtype))
        white += int(np.bincount(block.ravel(), minlength=256) @ bits_of_byte)
    assert shapes == {((1024, 512), np.dtype(np.uint8))}
    # The published mean is a count divided by the number of pixels, of which two may differ.
    assert white == pytest.approx(PUBLISHED_MEAN * 737_280 * 64 * 64, abs=2.5)


@pytest.mark.parametrize("factors", [(0, 0, 0, 0, 0), (0, 5, 3, 31, 2), (0, 2, 17, 9, 25)])
def test_square_by_a_loop_over_pixels(factors):
    _, scale, orientation, pos_x, pos_y = factors
    half = 9.6 * (0.5 + scale / 10)
    angle = 2 * np.pi * orientation / 39
    image = draw(*factors)
    for y in range(64):
        for x in range(64):
            dx, dy = x - 15.5 - 32 * pos_x / 31, y - 15.5 - 32 * pos_y / 31
            u = dx * np.cos(angle) - dy * np.sin(angle)
            v = dx * np.sin(angle) + dy * np.cos(angle)
            distance = half - max(abs(u), abs(v))
            if abs(distance) > 0.005:  # vertices are rounded to 1/256 of a pixel
                assert image[y, x] == (distance > 0)


@pytest.mark.parametrize("shape", range(3))
def test_white_is_what_the_outline_winds_around(shape):
    rng = np.random.default_rng(shape)
    centres = np.stack(np.meshgrid(np.arange(64.0), np.arange(64.0)), axis=-1).reshape(-1, 2)
    wrong = 0
    for scale, orientation, x, y in rng.integers((6, 40, 32, 32), size=(20, 4)):
        polygon = posed(
            dsprites.SHAPES[shape],
            np.linspace(0.5, 1, 6)[scale],
            np.linspace(0, 2 * np.pi, 40)[orientation],
            *np.linspace(0, 1, 32)[[x, y]],
        )
        image = draw(shape, scale, orientation, x, y)
        wrong += np.count_nonzero(image.ravel() != winding(polygon, centres))
    assert wrong <= 4  # of 20 images: centres that the rounding of vertices puts on the other side


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        ("square", 19.2**2),
        ("ellipse", np.pi * 9.6**2),
        # Half of the integral of x dy - y dx over the curve, whose harmonics are orthogonal:
        # 16 sin^3 t = 12 sin t - 4 sin 3t, so pi * (12 * 13 - 4 * 2 * 3) = 180 pi in its units.
        ("heart", 180 * np.pi * (9.6 / 16) * (9.6 / 14.5)),
    ],
)
def test_outlines_have_the_area_of_their_curves(shape, area):
    x, y = dsprites.outline(shape).T
    shoelace = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    assert shoelace == pytest.approx(area, rel=2e-3)  # a polygon inside its curve is smaller


@pytest.mark.parametrize("shape", range(3))
@pytest.mark.parametrize("scale", [0, 3, 5])
def test_shapes_are_symmetric(shape, scale):
    grid = dsprites_images(row(shape, scale, 0, 0, 0) + np.arange(1024)).reshape(32, 32, 64, 64)
    # Centres that lie on the outline itself belong to one side only.
    ties = grid.sum(dtype=np.int64) / 10_000
    assert np.count_nonzero(grid[::-1, :, :, ::-1] != grid) <= ties
    if shape < 2:
        assert np.count_nonzero(grid[:, ::-1, ::-1, :] != grid) <= ties


def test_heart_stands_on_its_tip():
    rows, _ = np.nonzero(draw(2, 5, 0, 16, 16))
    widths = np.bincount(rows, minlength=64)[rows.min() : rows.max() + 1]
    assert widths[-1] <= 2
    assert widths[:4].min() > 4
    assert np.argmax(widths) < len(widths) / 2


def test_positions_move_right_and_down_by_the_published_step():
    def centroid(pos_x, pos_y):
        y, x = np.nonzero(draw(1, 4, 7, pos_x, pos_y))
        return x.mean(), y.mean()

    x, y = centroid(0, 0)
    assert centroid(31, 0) == pytest.approx((x + 32, y))
    assert centroid(0, 31) == pytest.approx((x, y + 32))


def test_orientation_turns_anticlockwise_and_ends_where_it_began():
    y, x = np.nonzero(draw(1, 5, 4, 16, 16))  # 37 degrees: the long axis points up and right
    assert np.corrcoef(x, y)[0, 1] < -0.4
    np.testing.assert_array_equal(draw(2, 5, 0, 3, 4), draw(2, 5, 39, 3, 4))
