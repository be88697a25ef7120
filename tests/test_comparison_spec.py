from pathlib import Path

import pytest
from conftest import TINY

from didcli import config, registry
from didcli.engine.comparison_spec import EvalOptions, Evaluation, folder_name, read_spec
from didcli.errors import UsageError
from didcli.scoring.protocol import EvaluationProtocol

EXAMPLES = Path(__file__).parent.parent / "examples"
SPEC = """
data: {source: rendered}
train: {steps: 20, threads: 1}
seeds: [3, 1]
metrics: [mig, dci, mig]
eval: {train_points: 1e3, sap: continuous, disjoint: true}
entries:
  - preset: did-dsprites
    label: DiD, 5
    set: {method.width: 4, train.batch_size: 8}
  - method: beta_vae
    set: {method.beta: 2, method.lr: 1e-3}
    train: {steps: 40}
"""


@pytest.fixture
def read(tmp_path):
    def write_and_read(text: str):
        file = tmp_path / "spec.yaml"
        file.write_text(text, encoding="utf-8")
        return read_spec(file)

    return write_and_read


def test_an_entry_is_its_preset_the_common_settings_and_its_own(read):
    spec = read(SPEC)
    assert list(spec.entries) == ["DiD, 5", "beta_vae"]
    assert spec.seeds == (3, 1)
    assert spec.text == SPEC
    assert spec.entries["DiD, 5"] == config.resolve(
        "did-dsprites",
        assignments=[
            *("data.source=rendered", "train.steps=20", "train.threads=1"),
            *("method.width=4", "train.batch_size=8"),
        ],
    )
    second = spec.entries["beta_vae"]
    assert second.method.settings == registry.load("methods", "beta_vae").Config(beta=2.0, lr=1e-3)
    assert (second.train.steps, second.train.threads, second.train.seed) == (40, 1, 0)


def test_the_evaluation_is_told_to_did_eval_by_its_options(read):
    evaluation = read(SPEC).evaluation
    assert evaluation.metrics == ("mig", "dci")
    assert evaluation.scores == (
        *("mig", "dci_disentanglement", "dci_completeness", "dci_informativeness"),
    )
    expected = EvaluationProtocol(train_points=1000, sap="continuous", disjoint=True, threads=7)
    assert evaluation.protocol == {k: v for k, v in expected.as_dict().items() if k != "threads"}
    assert " ".join(evaluation.flags()) == (
        "--metrics mig,dci --train-points 1000 --test-points 5000 --variance-points 10000 "
        "--sap continuous --dci-backend exact --eval-seed 0 --eval-seeds 1 --disjoint"
    )


def test_each_option_is_one_of_did_eval(did):
    shown = did("eval", "--help").stdout
    flags = Evaluation(("mig",), EvalOptions(disjoint=True)).flags()
    assert all(flag in shown for flag in flags if flag.startswith("--"))


def test_a_number_of_seeds_counts_them_and_all_metrics_are_the_default(read):
    spec = read("{seeds: 3, entries: [{method: vae}]}")
    assert spec.seeds == (0, 1, 2)
    assert spec.evaluation.metrics == tuple(registry.names("metrics"))
    assert read("{seeds: 3, metrics: all, entries: [{method: vae}]}").evaluation == spec.evaluation


SWEEP = """
seeds: 1
entries:
  - preset: beta_vae-dsprites
    label: beta-VAE
    set: {method.lr: 1e-3}
    sweep: {method.beta: [4, 1]}
  - method: vae
    train: {steps: 40}
    sweep: {method.lr: [1e-4, 0.01], train.steps: [10, 20]}
"""


def test_a_sweep_stands_for_an_entry_for_each_combination_of_its_values(read):
    entries = read(SWEEP).entries
    assert list(entries) == [
        "beta-VAE, beta 4",
        "beta-VAE, beta 1",
        "vae, lr 0.0001, steps 10",
        "vae, lr 0.0001, steps 20",
        "vae, lr 0.01, steps 10",
        "vae, lr 0.01, steps 20",
    ]
    assert entries["beta-VAE, beta 1"] == config.resolve(
        "beta_vae-dsprites", assignments=["method.lr=0.001", "method.beta=1"]
    )
    last = entries["vae, lr 0.01, steps 20"]
    assert (last.method.settings.lr, last.train.steps) == (0.01, 20)
    assert len({folder_name(label).casefold() for label in entries}) == 6


def test_every_problem_of_a_sweep_is_reported_once(read):
    text = """
seeds: 1
entries:
  - preset: beta_vae-dsprites
    sweep: {method.betta: [1, 2], beta: [1, 2]}
  - method: vae
    sweep: {method.lr: [1e-4, -1, -2]}
    set: {method.lr: 1e-3}
  - method: dip_vae
    sweep: {method.lambda_od: 3, method.variant: []}
  - method: annealed_vae
    sweep: {method.gamma: [1, 2, 1.0]}
  - method: factor_vae
    sweep: {train.seed: [1, 2]}
  - method: beta_tcvae
    label: one
    sweep: {method.beta: [1, 2]}
  - method: beta_tcvae
    label: One
    sweep: {method.beta: [2, 1]}
"""
    with pytest.raises(UsageError) as caught:
        read(text)
    message = str(caught.value)
    for line in (
        "has 10 problems",
        "entries[0] (beta_vae-dsprites): method.betta: no such setting. Did you mean 'beta'?",
        "entries[0] (beta_vae-dsprites): sweep: 'beta' is not section.key, such as method.beta",
        "entries[1] (vae): sweep: method.lr is in set:, too",
        "entries[1] (vae): method.lr: Input should be greater than 0, got -1",
        "entries[1] (vae): method.lr: Input should be greater than 0, got -2",
        "entries[2].sweep.method.lambda_od: Input should be a valid list, got 3",
        "entries[2].sweep.method.variant: List should have at least 1 item",
        "entries[3].sweep: A value of method.gamma is listed twice",
        "entries[4] (factor_vae): train.seed: seeds: names them",
        "entries[6] (One): another entry has this label",
    ):
        assert message.count(line) == 1, line


def test_every_problem_is_reported_at_once_with_the_nearest_key(read):
    text = """
seedz: [0]
seeds: [0, -1]
metrics: [migg]
train: {stepz: 3}
eval: {train_point: 5, eval_seeds: 0}
entries:
  - preset: did-dsprite
  - method: vae
    lable: x
  - method: beta_vae
    set: {method.betta: 2, beta: 3, train.seed: 1}
  - {}
"""
    with pytest.raises(UsageError) as caught:
        read(text)
    message = str(caught.value)
    for line in (
        "has 12 problems",
        "seedz: no such key. Did you mean 'seeds'?",
        "seeds.1: Input should be greater than or equal to 0, got -1",
        "metrics: No metric 'migg'. Did you mean 'mig'?, got ['migg']",
        "train.stepz: no such setting. Did you mean 'steps'?",
        "eval.train_point: no such key. Did you mean 'train_points'?",
        "eval.eval_seeds: Input should be greater than or equal to 1, got 0",
        "entries[0] (did-dsprite): no preset 'did-dsprite'. Did you mean 'did-dsprites'?",
        "entries[1].lable: no such key. Did you mean 'label'?",
        "entries[2] (beta_vae): method.betta: no such setting. Did you mean 'beta'?",
        "entries[2] (beta_vae): set: 'beta' is not section.key",
        "entries[2] (beta_vae): train.seed: seeds: names them",
        "entries[3]: An entry has either a preset or a method",
    ):
        assert line in message
    assert message.count("stepz") == 1  # not once more for every entry
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "is not a mapping"),
        ("a: [", "as YAML"),
        ("{seeds: 1}", "entries: a list with at least one"),
        ("{seeds: 1, entries: []}", "entries: a list with at least one"),
        ("{entries: [{method: vae}]}", "seeds: Field required"),
        ("{seeds: [], entries: [{method: vae}]}", "seeds: List should have at least 1 item"),
        ("{seeds: [1, 1], entries: [{method: vae}]}", "seeds: A seed is named twice"),
        ("{seeds: 0, entries: [{method: vae}]}", "seeds: A list of seeds is wanted, or how many"),
        ("{seeds: true, entries: [{method: vae}]}", "seeds: A list of seeds is wanted"),
        ("{seeds: 1, seeds: 2, entries: [{method: vae}]}", "the key 'seeds' is there twice"),
        (
            "{seeds: 1, entries: [{method: vae, set: {method.lr: 1}, set: {}}]}",
            "the key 'set' is there twice",
        ),
        ("{seeds: 1, entries: [vae]}", "entries[0]: a mapping is wanted, such as {preset: did"),
        ("{seeds: 1, entries: [{method: vae, label: " + "x" * 201 + "}]}", "longer than 200"),
        ('{seeds: 1, entries: [{method: vae, label: "a\\nb"}]}', "a line break in it"),
        ("{seeds: 1, train: {seed: 4}, entries: [{method: vae}]}", "seeds: names them"),
        ("{seeds: 1, data: 3, entries: [{method: vae}]}", "data: Input should be a valid dict"),
        ("{seeds: 1, metrics: [migg], entries: [{method: vae}]}", "Did you mean 'mig'?"),
        ("{seeds: 1, entries: [{method: vaee}]}", "Did you mean 'vae'?"),
        ("{seeds: 1, entries: [{method: vae}, {method: vae}]}", "another entry has this label"),
        (
            "{seeds: 1, entries: [{method: vae, label: A b}, {method: vae, label: a-B}]}",
            "another entry has this label",
        ),
        ("{seeds: 1, entries: [{method: vae, label: '/..'}]}", "no letter or digit"),
        (
            "{seeds: 1, entries: [{preset: vae-dsprites}, {preset: vae-shapes3d}]}",
            "data: entries differ in it (vae-dsprites, vae-shapes3d)",
        ),
    ],
)
def test_what_is_wrong_is_said(read, text, message):
    with pytest.raises(UsageError) as caught:
        read(text)
    assert message in str(caught.value)


def test_what_is_missing_is_named_without_what_is_there(read):
    with pytest.raises(UsageError) as caught:
        read("{metrics: [mig], entries: [{method: vae}]}")
    assert str(caught.value).endswith("seeds: Field required")


def test_data_for_all_make_presets_of_different_data_alike(read):
    spec = read(
        "{seeds: 1, data: {name: dsprites},"
        " entries: [{preset: vae-dsprites}, {preset: vae-shapes3d}]}"
    )
    assert {built.data.name for built in spec.entries.values()} == {"dsprites"}


def test_a_missing_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_spec(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("β-VAE", "β-VAE"),
        ("DiD, 5 codes", "DiD-5-codes"),
        ("../up", "up"),
        ("beta_vae beta=0.5", "beta_vae-beta=0.5"),
    ],
)
def test_labels_name_folders(label, name):
    assert folder_name(label) == name


@pytest.mark.parametrize("folder", ["specs", "sweeps"])
def test_the_examples_are_valid_specifications(folder):
    examples = sorted((EXAMPLES / folder).glob("*.yaml"))
    assert examples
    for example in examples:
        assert len(read_spec(example).entries) > 1


@pytest.mark.parametrize("name", ["dsprites", "shapes3d"])
def test_the_comparisons_shorten_schedules_with_the_steps(name):
    """AnnealedVAE anneals for 100,000 of the study's 300,000 steps; InfoGAN-CR's contrast comes
    after 288,000 of its authors' 322,560."""
    entries = read_spec(EXAMPLES / "specs" / f"{name}.yaml").entries
    annealed, contrasted = entries["AnnealedVAE"], entries["InfoGAN-CR"]
    share = annealed.method.settings.annealing_steps / annealed.train.steps
    assert share == pytest.approx(1 / 3, abs=1e-3)
    share = contrasted.method.settings.cr_from / contrasted.train.steps
    assert share == pytest.approx(288_000 / 322_560, abs=1e-3)


def test_tiny_settings_can_be_set(read):
    """The other tests of comparisons rely on it."""
    lines = "".join(f"      {text.replace('=', ': ')}\n" for text in TINY)
    spec = read(f"seeds: 1\nentries:\n  - method: did\n    set:\n{lines}")
    assert spec.entries["did"].train.batch_size == 4
