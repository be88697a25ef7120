import io

import numpy as np
import pytest
from PIL import Image

from didcli.io import pictures
from didcli.io.pictures import GAP, LINE, Block

GREY = np.arange(2 * 3, dtype=np.uint8).reshape(2, 3, 1, 1, 1) * 40 * np.ones((1, 64, 64), np.uint8)
"""(2, 3, 1, 64, 64): each image of one grey, 0, 40, 80 in the first row, 120, 160, 200 below."""


def encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(("side", "scale"), [(1, 96), (16, 6), (64, 2), (95, 2), (96, 1), (400, 1)])
def test_small_images_are_enlarged_until_96_pixels_and_large_ones_left_alone(side, scale):
    assert pictures.enlargement(side, side) == scale


def test_every_image_is_where_rows_columns_and_the_gap_put_it():
    picture = np.asarray(pictures.sheet([Block("", GREY)]))
    pitch = 128 + GAP
    assert picture.shape == (GAP + 2 * pitch, GAP + 3 * pitch, 3)
    for row in range(2):
        for column in range(3):
            top, left = GAP + row * pitch, GAP + column * pitch
            image = picture[top : top + 128, left : left + 128]
            assert (image == 40 * (3 * row + column)).all()
            assert (picture[top : top + 128, left + 128 : left + pitch] == 255).all()


def test_blocks_stand_under_one_another_with_their_labels_left_and_headings_above():
    blocks = [Block("real", GREY[:1]), Block("dim 0", GREY[1:], headings=("-1", "0", "1"))]
    plan = pictures.layout(blocks)
    assert plan.gutter >= pictures.text_width("dim 0")
    assert plan.tops == (GAP, GAP + 128 + GAP)
    picture = np.asarray(pictures.sheet(blocks))
    first_of_second = plan.corner(plan.tops[1] + pictures.headings_height(blocks[1]), 0, 0)
    assert (picture[first_of_second[1], first_of_second[0]] == 120).all()
    gutter = picture[:, : plan.gutter].min(axis=(1, 2))
    inked = np.flatnonzero(gutter < 128)
    assert inked.min() > GAP
    assert inked.max() < plan.size[1]
    headings = picture[plan.tops[1] : first_of_second[1], plan.gutter :]
    assert headings.min() < 128


def test_a_heading_wider_than_its_image_widens_the_columns():
    wide = Block("", GREY, headings=("a heading much wider than an image", "", ""))
    plan = pictures.layout([wide])
    assert plan.image[0] == 128
    assert plan.cell[0] == pictures.text_width(wide.headings[0]) > 128
    # The image is in the middle of its column.
    assert plan.corner(0, 0, 0)[0] - GAP == (plan.cell[0] - 128) // 2


def test_colour_images_keep_their_colours_and_enlarging_makes_squares():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 4), dtype=np.uint8)
    image = np.asarray(pictures.to_image(pixels, scale=3))
    assert image.shape == (15, 12, 3)
    assert (image[1::3, 1::3] == np.moveaxis(pixels, 0, -1)).all()
    assert (image[0::3] == image[2::3]).all()


def test_a_caption_stands_beneath_in_as_many_lines_as_it_takes():
    picture = pictures.to_image(np.zeros((3, 64, 64), np.uint8), scale=2)
    assert pictures.captioned(picture, "") is picture
    for text, lines in [("one", 1), ("one two three four five six", 2), (30 * "x" + " y", 2)]:
        image = np.asarray(pictures.captioned(picture, text))
        assert image.shape == (128 + lines * LINE + GAP, 128, 3)
        assert (image[:128] == 0).all()
        for line in range(lines):
            assert image[128 + line * LINE :][:LINE].min() < 99
        assert (image[-GAP:] == 255).all()


def test_a_strip_has_images_side_by_side_and_a_gap_between():
    strip = np.asarray(pictures.strip(GREY[0]))
    assert strip.shape == (64, 3 * 64 + 2 * GAP)
    assert (strip[:, 64 + GAP : 128 + GAP] == 40).all()
    assert (strip[:, 64 : 64 + GAP] == 255).all()


def test_the_slider_is_below_the_picture_and_moves_with_the_fraction():
    picture = Image.new("RGB", (200, 50), "red")
    middles = []
    for fraction in (0.0, 0.5, 1.0):
        drawn = np.asarray(pictures.draw_slider(picture, fraction, "-1", "1"))
        assert (drawn[:50] == (255, 0, 0)).all()
        knob = (drawn[50 + pictures.LINE // 2] == pictures.INK).all(axis=-1)
        between = knob[pictures.text_width("-1") + GAP : -pictures.text_width("1") - GAP]
        middles.append(np.flatnonzero(between).mean())
    assert middles[0] < middles[1] < middles[2]
    assert middles[1] == pytest.approx((middles[0] + middles[2]) / 2, abs=1)


def test_a_gif_loops_for_ever_and_shows_every_frame_for_its_time():
    frames = [Image.new("RGB", (8, 8), (value, 0, 0)) for value in (0, 100, 200)]
    with Image.open(io.BytesIO(pictures.gif_bytes(frames, 70))) as image:
        assert image.n_frames == 3
        assert image.info["loop"] == 0
        for index, value in enumerate((0, 100, 200)):
            image.seek(index)
            assert image.info["duration"] == 70
            assert image.convert("RGB").getpixel((4, 4)) == (value, 0, 0)
