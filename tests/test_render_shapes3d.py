import colorsys
import itertools
from pathlib import Path

import numpy as np
import pytest
from drawn_images import shapes3d_images
from PIL import Image

from didcli.render import _shapes3d_scene as scene
from didcli.render import shapes3d

REFERENCE = Path(__file__).parents[2] / "shared" / "reference"
TILES = REFERENCE / "shapes3d_tiles.npz"
WALK = REFERENCE / "shapes3d_walk.gif"
SIZES = (10, 10, 10, 8, 4, 15)
SKY = (153, 226, 249)

# Published with the official set: means over all pixels, and means of the images' deviations.
PUBLISHED_MEANS = (0.502584966788819, 0.5787597566089667, 0.6034499731859578)
PUBLISHED_DEVIATIONS = (0.2940814043555559, 0.34439790875172144, 0.3661685981524748)


@pytest.fixture(scope="module")
def table():
    return np.concatenate(list(shapes3d.blocks()))


def row(*factors: int) -> int:
    return int(np.ravel_multi_index(factors, SIZES))


def draw(*factors: int) -> np.ndarray:
    """(64, 64, 3), whole numbers that can be subtracted."""
    return shapes3d_images(np.array([row(*factors)]))[0].transpose(1, 2, 0).astype(int)


def silhouette(*pose: int) -> np.ndarray:
    """(64, 64): where the object is: what changes with its hue."""
    red, cyan = draw(3, 7, 0, *pose), draw(3, 7, 5, *pose)
    return np.abs(red - cyan).max(axis=-1) > 90


# ---------------------------------------------------------------------------- against the originals


def hue_at(pixels: np.ndarray) -> int:
    """The hue, 0..9, of pixels (..., 3) of one material."""
    h, _, _ = colorsys.rgb_to_hsv(*np.median(pixels.reshape(-1, 3), axis=0) / 255)
    return round(10 * h) % 10


def best_match(table: np.ndarray, tile: np.ndarray) -> np.ndarray:
    """The image of the set that is nearest to the tile, (64, 64, 3) of whole numbers."""
    floor, wall = hue_at(tile[58:62, 4:10]), hue_at(tile[24:32, 4:8])
    rows = row(floor, wall, 0, 0, 0, 0) + np.arange(10 * 480)
    # A look at every ninth pixel first, in parts that stay in the processor's cache.
    wanted = tile.transpose(2, 0, 1).astype(np.int16)
    glances = [
        np.abs(shapes3d.compose(table, part)[..., 1::3, 1::3] - wanted[:, 1::3, 1::3]).mean(
            (1, 2, 3)
        )
        for part in np.split(rows, 75)
    ]
    promising = rows[np.concatenate(glances).argsort()[:100]]
    errors = np.abs(shapes3d.compose(table, promising) - wanted).mean(axis=(1, 2, 3))
    return shapes3d.compose(table, promising[[errors.argmin()]])[0].transpose(1, 2, 0).astype(int)


def object_mask(image: np.ndarray, hue: int) -> np.ndarray:
    h, s, _ = np.moveaxis(np.asarray(Image.fromarray(image.astype(np.uint8)).convert("HSV")), -1, 0)
    apart = np.abs((h / 25.5 - hue + 5) % 10 - 5)
    return (apart < 0.5) & (s > 150)


def overlap(masks: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Intersection over union, of the pixels of all pairs of masks together."""
    return sum((a & b).sum() for a, b in masks) / sum((a | b).sum() for a, b in masks)


@pytest.mark.skipif(not TILES.exists(), reason=f"there is no {TILES.name} to compare with")
def test_tiles_of_the_published_figure_are_matched(table):
    with np.load(TILES, allow_pickle=False) as reference:
        tiles = reference["images"]
    matches = np.stack([best_match(table, tile) for tile in tiles])
    errors = np.abs(matches - tiles).mean(axis=(1, 2))  # (tile, channel)
    assert errors.mean(axis=0).max() < 4
    assert errors.mean(axis=1).max() < 6
    # Rows and columns of the tiles are out of place by a pixel here and there; on the objects that
    # costs 3 % of the overlap.
    masks = []
    for tile, match in zip(tiles, matches, strict=True):
        hue = hue_at(match[44:50, 31:33])
        if hue in (hue_at(tile[58:62, 4:10]), hue_at(tile[24:32, 4:8])):
            continue
        masks.append((object_mask(match, hue), object_mask(tile, hue)))
    assert len(masks) > 15
    assert np.mean([overlap([pair]) for pair in masks]) > 0.95
    assert overlap(masks) > 0.95


@pytest.mark.skipif(not WALK.exists(), reason=f"there is no {WALK.name} to compare with")
def test_the_published_animation_walks_the_same_way(table):
    # It begins with all orientations, then shapes, then scales, each in the order of the factors.
    poses = [(0, 0, o) for o in range(15)] + [(0, s, 14) for s in (1, 2, 3)]
    poses += [(s, 3, 14) for s in range(1, 8)]
    # Pixels of the set are 225 / 64 of the animation's, which cuts off a little to the left.
    middles = 225 / 64 * (np.arange(1, 63) + 0.5)
    down, along = (middles + 0.49).astype(int), (middles + 1.55).astype(int)
    errors, masks = [], []
    with Image.open(WALK) as animation:
        for frame, pose in enumerate(poses):
            animation.seek(frame)
            original = np.asarray(animation.convert("RGB"))[np.ix_(down, along)].astype(int)
            image = shapes3d.compose(table, np.array([row(0, 6, 3, *pose)]))[0]
            drawn = image.transpose(1, 2, 0)[1:63, 1:63].astype(int)
            errors.append(np.abs(drawn - original).mean())
            masks.append((object_mask(drawn, 3), object_mask(original, 3)))
    assert max(errors) < 3
    assert min(overlap([pair]) for pair in masks) > 0.94
    assert overlap(masks) > 0.97


def test_means_and_deviations_are_the_published_ones(table):
    # Ten colours of each pose: the mean of the set to about .002.
    colours = np.random.default_rng(0).integers(1000, size=(10, 480))
    images = shapes3d.compose(table, (480 * colours + np.arange(480)).ravel()) / np.float32(255)
    assert images.mean(axis=(0, 2, 3)) == pytest.approx(PUBLISHED_MEANS, abs=0.005)
    deviations = images.std(axis=(2, 3)).mean(axis=0)
    assert deviations == pytest.approx(PUBLISHED_DEVIATIONS, abs=0.005)


# ---------------------------------------------------------------------------- the table


def test_the_table_holds_the_poses_in_order(table):
    assert table.shape == (480, shapes3d.POSE_BYTES)
    for number in np.random.default_rng(1).integers(480, size=6).tolist():
        np.testing.assert_array_equal(table[number], shapes3d.pose(number))


def test_images_are_numbered_in_mixed_radix(table):
    every = itertools.product(*map(range, SIZES))
    for number, factors in itertools.islice(enumerate(every), 0, None, 47_911):
        image = shapes3d.compose(table, np.array([number]))[0].transpose(1, 2, 0)
        np.testing.assert_array_equal(image, draw(*factors))


@pytest.mark.parametrize("factors", [(1, 8, 4, 7, 3, 0), (6, 2, 9, 0, 0, 14), (5, 0, 3, 7, 2, 7)])
def test_an_image_is_its_scene_reduced_by_pillow(factors):
    """Colours per subpixel, cut off at 1, and Pillow's own Lanczos filter."""
    *hues, scale, shape, orientation = factors
    seen = scene.view(
        ("cube", "cylinder", "sphere", "capsule")[shape],
        np.linspace(0.75, 1.25, 8)[scale],
        np.linspace(-30, 30, 15)[orientation],
        192,
    )
    colours = np.array([colorsys.hsv_to_rgb(hue / 10, 1, 1) for hue in hues] + [(0, 0, 0)])
    light = colours[seen.material] * seen.shade[..., np.newaxis] + seen.gloss[..., np.newaxis]
    light = np.where((seen.material == 3)[..., np.newaxis], np.array(SKY) / 255, light.clip(0, 1))
    for channel in range(3):
        large = Image.fromarray((255 * light[..., channel]).astype(np.float32))
        small = np.asarray(large.resize((64, 64), Image.Resampling.LANCZOS))
        assert np.abs(small.clip(0, 255) - draw(*factors)[..., channel]).max() < 0.7


def test_levels_are_those_of_hsv_colours():
    for hue, levels in enumerate(shapes3d.HUE_LEVELS):
        expected = colorsys.hsv_to_rgb(shapes3d.HUES[hue], 1, 1)
        np.testing.assert_allclose(shapes3d.LEVELS[levels], expected, atol=1e-12)


def test_no_rows_give_no_images(table):
    assert shapes3d.compose(table, np.array([], dtype=np.int64)).shape == (0, 3, 64, 64)


# ---------------------------------------------------------------------------- the scene


def test_sky_floor_and_walls_are_where_they_should_be():
    image = draw(0, 6, 3, 0, 0, 7)  # red, blue, green
    np.testing.assert_array_equal(image[:12], np.broadcast_to(SKY, (12, 64, 3)))
    assert (image[45:, :20].argmax(axis=-1) == 0).all()
    assert (image[20:36, :20].argmax(axis=-1) == 2).all()
    assert (image[42:50, 28:36].argmax(axis=-1) == 1).all()


def test_opposite_hues_exchange_channels():
    # What red has in the first channel, cyan has in the others.
    red, cyan = draw(0, 0, 0, 3, 0, 7), draw(5, 5, 5, 3, 0, 7)
    floor = np.s_[44:, :18]
    np.testing.assert_array_equal(red[floor][..., 0], cyan[floor][..., 1])
    np.testing.assert_array_equal(cyan[floor][..., 1], cyan[floor][..., 2])
    assert not red[floor][..., 1:].any()


@pytest.mark.parametrize(("material", "region"), [(0, np.s_[56:, :10]), (1, np.s_[24:34, 2:10])])
def test_a_hue_changes_only_its_own_material(material, region):
    one, other = [2, 2, 2, 4, 2, 7], [2, 2, 2, 4, 2, 7]
    other[material] = 6
    changed = np.abs(draw(*one) - draw(*other)).max(axis=-1) > 0
    assert changed[region].all()
    assert not changed[:10].any()
    assert not changed[46:50, 30:34].any()


@pytest.mark.parametrize("shape", range(4))
def test_silhouettes_grow_with_scale(shape):
    def extent(scale):
        rows, columns = np.nonzero(silhouette(scale, shape, 7))
        return np.ptp(columns) + 1, np.ptp(rows) + 1

    small, large = extent(0), extent(7)
    assert large[0] / small[0] == pytest.approx(1.25 / 0.75, rel=0.15)
    assert large[1] / small[1] == pytest.approx(1.25 / 0.75, rel=0.15)


def test_sphere_is_round_and_capsule_is_taller_than_wide():
    rows, columns = np.nonzero(silhouette(7, 2, 3))
    assert abs(np.ptp(rows) - np.ptp(columns)) <= 1
    rows, columns = np.nonzero(silhouette(7, 3, 3))
    assert np.ptp(rows) > 1.7 * np.ptp(columns)


@pytest.mark.parametrize("shape", range(4))
def test_opposite_orientations_mirror_silhouettes(shape):
    left, right = silhouette(4, shape, 2), silhouette(4, shape, 12)
    assert np.count_nonzero(left[:, ::-1] != right) <= 4


def test_the_camera_turns_a_corner_into_view_on_either_side():
    left, right = np.s_[24:32, 3:6, 0], np.s_[24:32, 58:61, 0]
    for orientation, near, far in [(0, right, left), (14, left, right)]:
        image = draw(0, 0, 0, 0, 0, orientation)
        assert image[near].mean() < 0.9 * image[far].mean()
    ahead = draw(0, 0, 0, 0, 0, 7)
    assert ahead[left].mean() == pytest.approx(ahead[right].mean(), rel=0.05)


@pytest.mark.parametrize("orientation", [0, 7, 14])
def test_a_shadow_falls_to_the_right_of_the_object(orientation):
    floor = draw(0, 6, 3, 7, 3, orientation)[54:62, :, 0]
    dark = np.nonzero(floor < 100)[1]
    assert len(dark) > 40
    assert dark.mean() > 33


def test_an_unknown_shape_is_named():
    with pytest.raises(ValueError, match="no shape 'torus'"):
        scene.view("torus", 1.0, 0.0, 8)
