import base64
import io
import json
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image
from random_run import LATENT_DIM, make_dataset

from didcli.engine import traverse
from didcli.engine.traverse import Knowledge
from didcli.errors import UsageError
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


def test_only_the_chosen_code_moves_and_it_takes_every_value():
    anchors = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    codes = traverse.traversed_codes(anchors, [2, 0], np.array([-1, 9], np.float32))
    assert codes.tolist() == [
        [[[1, 2, -1], [1, 2, 9]], [[4, 5, -1], [4, 5, 9]]],
        [[[-1, 2, 3], [9, 2, 3]], [[-1, 5, 6], [9, 5, 6]]],
    ]
    assert anchors.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_each_image_is_the_one_decoded_from_its_code(run, traversal):
    anchors = traverse.prior_anchors(run, 2, seed=0).codes
    assert traversal.images.shape == (2, 2, 5, 1, 64, 64)
    for index, dim in enumerate((4, 1)):
        code = anchors[1:].copy()
        code[0, dim] = 0.5
        # Off by one: other batch sizes round differently.
        difference = traversal.images[index, 1, 3].astype(int) - run.decode(code)[0]
        assert np.abs(difference).max() <= 1


def test_values_are_evenly_spaced_with_both_ends():
    assert traverse.evenly_spaced(-1, 1, 5).tolist() == [-1, -0.5, 0, 0.5, 1]


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (float("nan"), 1), (0, float("inf"))])
def test_a_range_that_is_none_is_refused(low, high):
    with pytest.raises(UsageError, match="the range goes from") as caught:
        traverse.evenly_spaced(low, high, 9)
    assert "--range -1,1" in caught.value.hint


@pytest.mark.parametrize(
    ("texts", "dims"),
    [
        ([], (0, 1, 2, 3, 4, 5)),
        (["3"], (3,)),
        (["0-2"], (0, 1, 2)),
        (["1, 5"], (1, 5)),
        (["5", "0-1", "1,5"], (5, 0, 1)),
        (["4-4"], (4,)),
    ],
)
def test_dimensions_are_read_in_order_and_once_each(texts, dims):
    assert traverse.parse_dims(texts, LATENT_DIM) == dims


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("99", "there is no dimension 99"),
        ("4-6", "there is no dimension 6"),
        ("3-1", "the range 3-1 goes backwards"),
        ("x", "'x' is not a dimension"),
        ("-1", "'-1' is not a dimension"),
        ("", "'' is not a dimension"),
        ("1-", "'1-' is not a dimension"),
        ("²", "'²' is not a dimension"),
    ],
)
def test_a_wrong_dimension_is_named_and_the_hint_says_which_there_are(text, problem):
    with pytest.raises(UsageError, match=problem) as caught:
        traverse.parse_dims([text], LATENT_DIM)
    assert "dimensions 0 to 5" in caught.value.hint


def test_ranges_and_rows_are_read():
    assert traverse.parse_range("-2, 0.5") == (-2.0, 0.5)
    assert traverse.parse_rows("0, 17,4") == (0, 17, 4)


@pytest.mark.parametrize("text", ["", "1", "1,2,3", "a,b", "1;2"])
def test_a_range_that_cannot_be_read_is_refused(text):
    with pytest.raises(UsageError, match="--range takes two numbers"):
        traverse.parse_range(text)


@pytest.mark.parametrize("text", ["", "1,", "-1", "1.5", "0-4"])
def test_rows_that_cannot_be_read_are_refused(text):
    with pytest.raises(UsageError, match="--rows takes numbers"):
        traverse.parse_rows(text)


def test_drawn_anchors_are_within_the_range_and_a_function_of_the_seed(run):
    some = traverse.prior_anchors(run, 50, seed=3)
    assert some.codes.shape == (50, LATENT_DIM)
    assert some.codes.dtype == np.float32
    assert some.rows == ()
    assert -1 <= some.codes.min() < -0.9
    assert 0.9 < some.codes.max() <= 1
    # More anchors are the same ones and others.
    assert (traverse.prior_anchors(run, 3, seed=3).codes == some.codes[:3]).all()
    assert not (traverse.prior_anchors(run, 3, seed=4).codes == some.codes[:3]).any()


def test_rows_are_drawn_once_each_and_are_a_function_of_the_seed():
    rows = traverse.random_rows(20, 30, seed=0)
    assert len(set(rows)) == 20
    assert rows == traverse.random_rows(20, 30, seed=0) != traverse.random_rows(20, 30, seed=1)
    assert sorted(traverse.random_rows(9, 4, seed=0)) == [0, 1, 2, 3]


def test_anchors_from_the_dataset_are_the_codes_of_its_rows(run):
    dataset = make_dataset()
    anchors = traverse.data_anchors(run, dataset, (599, 0))
    assert anchors.rows == (599, 0)
    assert (anchors.codes == run.encode(dataset.images(np.array([599, 0])))).all()
    with pytest.raises(UsageError, match="no row 600") as caught:
        traverse.data_anchors(run, dataset, (0, 600))
    assert "0 to 599" in caught.value.hint


@pytest.fixture
def report() -> dict:
    """As `did eval` writes it, for two dimensions and three factors."""
    return {
        "run": {"checkpoint": "abc", "step": 9},
        "scores": {"mig": 0.5},
        "protocol": {"bins": 20},
        "data": {"factor_names": ["shape", "pos_x", "pos_y"]},
        "details": {
            "mig": {
                "mutual_information": [[0.5, 1.0, 0.1], [0.0, 0.2, 0.6]],
                "factor_entropy": [0.625, 2.0, 2.0],
            }
        },
    }


def test_a_dimension_knows_most_of_the_factor_whose_entropy_it_has_the_largest_share_of(
    tmp_path, report
):
    path = tmp_path / "eval.json"
    path.write_text(json.dumps(report))
    # Dimension 0: 0.8 of shape, and 0.5 of pos_x though that is more nats.
    assert traverse.read_knowledge(tmp_path, "abc", 2) == {
        0: Knowledge("shape", 0.8),
        1: Knowledge("pos_y", 0.3),
    }


def test_scores_of_another_checkpoint_or_another_width_label_nothing(tmp_path, report):
    path = tmp_path / "eval.json"
    path.write_text(json.dumps(report))
    assert traverse.read_knowledge(tmp_path, "other", 2) == {}
    assert traverse.read_knowledge(tmp_path, "abc", 3) == {}


@pytest.mark.parametrize(
    "damage",
    [
        lambda report: report.pop("run"),
        lambda report: report["details"].pop("mig"),
        lambda report: report["details"]["mig"].update(mutual_information=[[1], [1, 2]]),
        lambda report: report["details"]["mig"].update(mutual_information="no"),
        lambda report: report["details"]["mig"]["mutual_information"][0].__setitem__(0, None),
        lambda report: report["details"]["mig"].update(factor_entropy=[0.0, 0.0, 0.0]),
        lambda report: report["data"].update(factor_names=None),
        lambda report: report["details"].update(mig=[]),
    ],
)
def test_a_damaged_report_labels_nothing(tmp_path, report, damage):
    path = tmp_path / "eval.json"
    damage(report)
    path.write_text(json.dumps(report))
    assert traverse.read_knowledge(tmp_path, "abc", 2) == {}


def test_no_report_or_one_that_is_no_object_labels_nothing(tmp_path):
    path = tmp_path / "eval.json"
    assert traverse.read_knowledge(tmp_path, "abc", 2) == {}
    for content in (b"", b"[]", b"\xff\xfe", b'{"run": '):
        path.write_bytes(content)
        assert traverse.read_knowledge(tmp_path, "abc", 2) == {}


def test_the_label_names_the_factor_where_one_is_known():
    known = {3: Knowledge("pos_x", 0.412)}
    assert traverse.label(3, known) == "dim 3: pos_x (0.41)"
    assert traverse.label(2, known) == "dim 2"


def test_the_file_is_never_the_picture_that_training_refreshes():
    assert traverse.file_name(range(6), 6, "png") == "traverse.png"
    assert traverse.file_name([3], 6, "gif") == "traverse-dim3.gif"
    assert traverse.file_name([5, 0], 6, "html") == "traverse-dim5-0.html"


def test_the_png_has_a_block_a_dimension_a_row_an_anchor_and_a_column_a_value(traversal):
    content = traverse.render(traversal, ["dim 4", "dim 1: pos_x (0.41)"], "png", title="")
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
    content = traverse.render(traversal, ["dim 4", "dim 1"], "gif", title="")
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
        content = traverse.render(traversal, ["dim 4", "dim 1"], suffix, title=title)
        with Image.open(io.BytesIO(content)) as file:
            return np.asarray(file.convert("L")).astype(int)

    bare, titled = opened(""), opened("random, step 7")
    assert titled.shape == (len(bare) + LINE + GAP, bare.shape[1])
    assert np.abs(titled[: len(bare)] - bare).max() <= 2
    assert titled[len(bare) :].min() < 99


def test_images_are_told_with_their_source():
    assert traverse.images_of("shapes3d", "rendered v1") == "shapes3d (rendered v1)"
    official = f"official sha256:{64 * 'a'}"
    assert traverse.images_of("dsprites", official) == f"dsprites (official sha256:{12 * 'a'})"


def test_frames_last_a_period_in_all_within_what_viewers_can_show():
    assert traverse.there_and_back(2) == [0, 1]
    assert traverse.frame_ms(30) == 100
    assert traverse.frame_ms(2) == 300
    assert traverse.frame_ms(1000) == 40
    assert all(traverse.frame_ms(count) % 10 == 0 for count in range(1, 99))


def test_the_page_embeds_every_image_and_reaches_for_nothing(traversal):
    content = traverse.render(traversal, ["dim 4", "dim 1: <b>"], "html", title="a & b")
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


def test_the_training_picture_shows_reals_their_reconstructions_and_every_dimension(run):
    dataset = make_dataset()
    picture = traverse.training_picture(run.method, dataset, torch.device("cpu"))
    pixels = np.asarray(picture)
    pitch = SIDE + GAP
    gutter = pixels.shape[1] - 9 * pitch
    caption = LINE + GAP
    assert pixels.shape[0] == GAP + (2 + LATENT_DIM) * pitch + GAP + LINE + caption
    assert pixels[-caption:].min() < 99

    def image(top: int, column: int) -> np.ndarray:
        left = gutter + column * pitch
        return pixels[top : top + SIDE : 2, left : left + SIDE : 2, 0].astype(int)

    rows = np.array(traverse.random_rows(9, len(dataset), traverse.PICTURE_SEED))
    reals = dataset.images(rows)
    codes = run.encode(reals)
    for column in range(9):
        assert (image(GAP, column) == reals[column, 0]).all()
        rebuilt = run.decode(codes)[column, 0]
        assert np.abs(image(GAP + pitch, column) - rebuilt).max() <= 1
    moved = traverse.traverse(run, [5], traverse.evenly_spaced(-1, 1, 9), codes[:1])
    last = pixels.shape[0] - pitch - caption
    for column in range(9):
        assert np.abs(image(last, column) - moved.images[0, 0, column, 0]).max() <= 1


def test_the_training_picture_is_the_same_each_time_and_takes_a_small_dataset(run):
    dataset = make_dataset()
    device = torch.device("cpu")
    first = traverse.training_picture(run.method, dataset, device)
    assert first.tobytes() == traverse.training_picture(run.method, dataset, device).tobytes()
    small = make_dataset((1, 1, 2, 2, 1))
    assert traverse.training_picture(run.method, small, device).size == first.size


def test_a_model_that_diverged_is_drawn_without_an_error(run, monkeypatch):
    broken = torch.full((9 + 9 * LATENT_DIM, 1, 64, 64), float("nan"))
    monkeypatch.setattr(run.method, "decode", lambda _codes: broken)
    traverse.training_picture(run.method, make_dataset(), torch.device("cpu"))
