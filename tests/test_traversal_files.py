import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from didcli.engine import traversal_files, traverse
from didcli.io.pictures import GAP, LINE

SIDE = 128
"""Of an image of 64 pixels, enlarged."""


@pytest.fixture(scope="module")
def traversal(run) -> traverse.Traversal:
    """Dimensions 4 and 1, two anchors, five values."""
    anchors = traverse.prior_anchors(run, 2, seed=0)
    return traverse.traverse(run, (4, 1), traverse.evenly_spaced(-1, 1, 5), anchors.codes)


class Page(HTMLParser):
    """What a page embeds, names and reaches for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[Image.Image] = []
        self.alternatives: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.tags.append(tag)
        if tag == "img":
            content = named["src"].removeprefix("data:image/png;base64,")
            self.images.append(Image.open(io.BytesIO(base64.b64decode(content, validate=True))))
            self.alternatives.append(named["alt"])
        elif "src" in named or "href" in named:
            self.links.append(tag)


def test_the_file_is_never_the_picture_that_training_refreshes():
    assert traversal_files.file_name(range(6), 6, "png") == "traverse.png"
    assert traversal_files.file_name([3], 6, "gif") == "traverse-dim3.gif"
    assert traversal_files.file_name([5, 0], 6, "html") == "traverse-dim5-0.html"


def test_a_hundred_dimensions_fit_into_a_file_s_name(tmp_path):
    names = {traversal_files.file_name(range(k, 100 + k), 200, "png") for k in (1, 2)}
    assert len(names) == 2
    for name in names:
        (tmp_path / name).touch()
        assert name.startswith("traverse-dim-100-")


def test_the_png_has_a_block_a_dimension_a_row_an_anchor_and_a_column_a_value(traversal):
    content = traversal_files.render(traversal, ["dim 4", "dim 1: pos_x (0.41)"], "png", title="")
    with Image.open(io.BytesIO(content)) as file:
        assert file.format == "PNG"
        picture = np.asarray(file)
    pitch = SIDE + GAP
    gutter = picture.shape[1] - 5 * pitch
    block = GAP + LINE + 2 * pitch
    assert picture.shape[0] == GAP + 2 * block
    for index in np.ndindex(2, 2, 5):
        dim, anchor, value = index
        top = GAP + dim * block + GAP + LINE + anchor * pitch
        left = gutter + value * pitch
        image = picture[top : top + SIDE : 2, left : left + SIDE : 2]
        assert (image == traversal.images[index][0][..., np.newaxis]).all()


def test_the_gif_moves_every_dimension_up_and_back_and_loops(traversal):
    content = traversal_files.render(traversal, ["dim 4", "dim 1"], "gif", title="")
    with Image.open(io.BytesIO(content)) as file:
        assert file.format == "GIF"
        assert file.n_frames == 2 * 5 - 2
        assert file.info["loop"] == 0
        pitch = SIDE + GAP
        assert file.size == (GAP + 2 * pitch, GAP + GAP + LINE + 2 * pitch + LINE + GAP)
        for frame, value in enumerate([0, 1, 2, 3, 4, 3, 2, 1]):
            file.seek(frame)
            assert file.info["duration"] == 300
            shown = np.asarray(file.convert("L"))
            for dim, anchor in np.ndindex(2, 2):
                top, left = GAP + GAP + LINE + anchor * pitch, GAP + dim * pitch
                image = shown[top : top + SIDE : 2, left : left + SIDE : 2]
                difference = image.astype(int) - traversal.images[dim, anchor, value, 0]
                assert np.abs(difference).max() <= 2  # a GIF has 256 colours


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_pictures_have_their_title_beneath_them(traversal, suffix):
    def opened(title):
        content = traversal_files.render(traversal, ["dim 4", "dim 1"], suffix, title=title)
        with Image.open(io.BytesIO(content)) as file:
            return np.asarray(file.convert("L")).astype(int)

    bare, titled = opened(""), opened("random, step 7")
    assert titled.shape == (len(bare) + LINE + GAP, bare.shape[1])
    assert np.abs(titled[: len(bare)] - bare).max() <= 2
    assert titled[len(bare) :].min() < 99


def test_frames_last_a_period_in_all_within_what_viewers_can_show():
    assert traversal_files.there_and_back(2) == [0, 1]
    assert traversal_files.frame_ms(30) == 100
    assert traversal_files.frame_ms(2) == 300
    assert traversal_files.frame_ms(1000) == 40
    assert all(traversal_files.frame_ms(count) % 10 == 0 for count in range(1, 99))


def test_the_page_embeds_every_image_and_reaches_for_nothing(traversal):
    content = traversal_files.render(traversal, ["dim 4", "dim 1: <b>"], "html", title="a & b")
    text = content.decode()
    page = Page(text)
    assert page.links == []
    assert page.tags.count("section") == 2
    assert "b" not in page.tags  # names are text, not markup
    assert "<title>a &amp; b</title>" in text
    assert page.alternatives[0] == "dim 4 at -1"
    assert page.alternatives[-1] == "dim 1: <b> at 1"
    assert len(page.images) == 2 * 5
    for image, (dim, value) in zip(page.images, np.ndindex(2, 5), strict=True):
        pixels = np.asarray(image)
        assert (pixels[::2, :SIDE:2] == traversal.images[dim, 0, value, 0]).all()
        assert (pixels[::2, SIDE + GAP :: 2] == traversal.images[dim, 1, value, 0]).all()
