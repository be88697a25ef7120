import io

import numpy as np
import pytest
from PIL import Image

from didcli.io.charts import COLOURS, Panel, _places, draw_dots

SCORES = {"a method": {0: 0.1, 1: 0.2, 2: 0.6}, "another": {0: 0.3}, "none": {}}


def picture(panels):
    return Image.open(io.BytesIO(draw_dots(panels, "heading")))


def test_it_is_a_png_that_grows_with_panels_and_methods():
    one = picture([Panel("mig", SCORES)])
    four = picture([Panel("mig", SCORES)] * 4)  # in two rows
    many = picture([Panel("mig", {f"method {i}": {0: 0.5} for i in range(12)})])
    assert one.format == "PNG"
    assert four.width > 1.9 * one.width
    assert four.height > 1.8 * one.height
    assert many.width > 2 * one.width


def test_each_method_has_its_colour():
    pixels = np.asarray(picture([Panel("mig", SCORES)]).convert("RGB")).reshape(-1, 3)
    there = {tuple(pixel) for pixel in np.unique(pixels, axis=0).tolist()}
    first, second, third = (tuple(bytes.fromhex(colour[1:])) for colour in COLOURS[:3])
    assert {first, second} <= there
    assert third not in there  # a column without runs is empty, and has its label


def dots(panel, colour):
    """Where the dots of a colour are, from left to right: the (x, y) of each one's centre."""
    pixels = np.asarray(picture([panel]).convert("RGB")).astype(float)
    # A dot lets a quarter of the white page through, which tells it from the line of the mean.
    shade = 0.75 * np.array(tuple(bytes.fromhex(colour[1:]))) + 0.25 * 255
    y, x = np.nonzero((np.abs(pixels - shade) < 12).all(axis=2))
    order = np.argsort(x)
    gaps = np.nonzero(np.diff(x[order]) > 1)[0] + 1
    return [(x[part].mean(), y[part].mean()) for part in np.split(order, gaps)]


def test_a_dot_is_as_high_as_its_score():
    panel = Panel("mig", {"a": {0: 0.2, 1: 1.0, 2: 0.6}, "b": {1: 0.6}})
    (_, low), (_, high), (_, middle) = dots(panel, COLOURS[0])
    assert low - high > 50
    assert middle == pytest.approx((low + high) / 2, abs=2)
    assert dots(panel, COLOURS[1])[0][1] == pytest.approx(middle, abs=2)


def test_the_highest_dot_is_whole():
    """Of scores near to each other, whose range would leave a margin of less than half a dot."""
    panel = Panel("mig", {"a": {0: 0.50, 1: 0.49, 2: 0.48}})
    pixels = np.asarray(picture([panel]).convert("RGB")).astype(float)
    shade = 0.75 * np.array(tuple(bytes.fromhex(COLOURS[0][1:]))) + 0.25 * 255
    y, x = np.nonzero((np.abs(pixels - shade) < 12).all(axis=2))
    highest, lowest = (np.ptp(y[np.abs(x - at) <= 4]) for at in (x.min() + 4, x.max() - 4))
    assert highest == pytest.approx(lowest, abs=1)


def test_a_seed_stands_at_the_same_place_in_every_column():
    assert _places([2, 0, 1, 0, 2]) == {0: -0.15, 1: 0.0, 2: 0.15}
    assert _places([7]) == {7: 0.0}
    assert _places([]) == {}


def test_labels_may_be_long_and_have_any_characters():
    short, long = (
        picture([Panel("mig", {"$x": {0: 0.5}})]),
        picture([Panel("mig", {"a$b$\\" * 9: {}})]),
    )
    assert short.height < long.height < 2 * short.height


def test_long_labels_that_differ_at_their_ends_are_told_apart():
    def with_labels(*labels):
        return picture([Panel("mig", {label: {0: 0.5} for label in labels})]).tobytes()

    one, other = (f"FactorVAE, the networks of another, gamma {gamma}" for gamma in (10, 40))
    assert with_labels(one, one + " ") != with_labels(one, other)


def test_a_heading_longer_than_its_picture_is_wide_is_wrapped():
    """Bare paper is left at both sides of a picture of one narrow panel."""
    heading = "a seed at the same place " * 4 + "\nimages: official sha256:" + "0a" * 32
    png = draw_dots([Panel("mig", {"ours": {0: 0.5}})], heading)
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
    assert (pixels[:, [0, 1, -2, -1]] == 255).all()
