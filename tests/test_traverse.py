import json

import numpy as np
import pytest
from random_run import LATENT_DIM, make_dataset

from didcli.engine import traverse
from didcli.engine.traverse import Knowledge
from didcli.errors import UsageError


def test_only_the_chosen_code_moves_and_it_takes_every_value():
    anchors = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    codes = traverse.traversed_codes(anchors, [2, 0], np.array([-1, 9], np.float32))
    assert codes.tolist() == [
        [[[1, 2, -1], [1, 2, 9]], [[4, 5, -1], [4, 5, 9]]],
        [[[-1, 2, 3], [9, 2, 3]], [[-1, 5, 6], [9, 5, 6]]],
    ]
    assert anchors.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_each_image_is_the_one_decoded_from_its_code(run):
    anchors = traverse.prior_anchors(run, 2, seed=0).codes
    traversal = traverse.traverse(run, (4, 1), traverse.evenly_spaced(-1, 1, 5), anchors)
    assert traversal.images.shape == (2, 2, 5, 1, 64, 64)
    for index, dim in enumerate((4, 1)):
        code = anchors[1:].copy()
        code[0, dim] = 0.5
        # Off by one: other batch sizes round differently.
        difference = traversal.images[index, 1, 3].astype(int) - run.decode(code)[0]
        assert np.abs(difference).max() <= 1


def test_values_are_evenly_spaced_with_both_ends():
    assert traverse.evenly_spaced(-1, 1, 5).tolist() == [-1, -0.5, 0, 0.5, 1]


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


def test_images_are_told_with_their_source():
    assert traverse.images_of("shapes3d", "rendered v1") == "shapes3d (rendered v1)"
    official = f"official sha256:{64 * 'a'}"
    assert traverse.images_of("dsprites", official) == f"dsprites (official sha256:{12 * 'a'})"
