import io

import numpy as np
from PIL import Image

from didcli.io.heatmap import Panel, draw


def picture(values):
    rows = [f"z{d}" for d in range(len(values))]
    columns = [f"factor {k}" for k in range(values.shape[1])]
    return Image.open(io.BytesIO(draw([Panel("a", values, rows, columns)] * 2, "title")))


def test_it_is_a_png_whose_size_follows_the_matrix():
    small, large = picture(np.eye(3)), picture(np.eye(12))
    assert small.format == "PNG"
    assert small.width < large.width
    assert small.height < large.height


def test_large_values_are_dark_and_missing_ones_blank():
    low = np.asarray(picture(np.zeros((4, 4))).convert("L"), dtype=float)
    high = np.asarray(picture(np.ones((4, 4))).convert("L"), dtype=float)
    missing = np.asarray(picture(np.full((4, 4), np.nan)).convert("L"), dtype=float)
    assert high.mean() < low.mean() - 50
    assert missing.mean() > high.mean() + 50


def test_a_dollar_in_a_name_is_a_dollar_and_no_formula():
    panel = Panel("a", np.eye(2), ["z0", "z1"], ["a_$x^_$", "b"])
    assert draw([panel], "a$b_$c.npz").startswith(b"\x89PNG")
