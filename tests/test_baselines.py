"""The presets of the mainstream methods, and the values that the reference study swept."""

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from didcli import config, registry
from didcli.methods import dip_vae

SWEEPS = Path(__file__).parent.parent / "examples" / "sweeps" / "reference-study.yaml"
PRESETS = {
    "vae": "vae",
    "beta_vae": "beta_vae",
    "annealed_vae": "annealed_vae",
    "factor_vae": "factor_vae",
    "beta_tcvae": "beta_tcvae",
    "dip_vae_i": "dip_vae",
    "infogan": "infogan",
    "infogan_cr": "infogan_cr",
}


@pytest.mark.parametrize(("preset", "method"), PRESETS.items())
def test_the_defaults_of_a_method_are_its_authors_settings_for_dsprites(preset, method):
    resolved = config.resolve(f"{preset}-dsprites")
    assert resolved.method.name == method
    assert resolved.method.settings == registry.load("methods", method).Config()
    assert resolved.data.name == "dsprites"
    assert resolved.train.batch_size == 64


@pytest.mark.parametrize(("preset", "method"), PRESETS.items())
def test_3dshapes_changes_what_belongs_to_the_dataset_alone(preset, method):
    resolved = config.resolve(f"{preset}-shapes3d")
    assert resolved.data.name == "shapes3d"
    assert resolved.train == config.resolve(f"{preset}-dsprites").train
    settings, defaults = (
        asdict(resolved.method.settings),
        asdict(registry.load("methods", method).Config()),
    )
    changed = {name: value for name, value in settings.items() if value != defaults[name]}
    expected = {"beta_tcvae": {"dataset_size": 480_000}}
    expected |= {name: {"latent_dim": 6} for name in ("infogan", "infogan_cr")}  # its factors
    assert changed == expected.get(preset, {})


def test_the_two_variants_of_dip_differ_in_the_weight_of_the_diagonal():
    first, second = (config.resolve(f"dip_vae_{v}-dsprites").method.settings for v in ("i", "ii"))
    assert (first.variant, dip_vae.lambda_d(first)) == ("i", 10 * first.lambda_od)
    assert (second.variant, dip_vae.lambda_d(second)) == ("ii", second.lambda_od)


def sweeps() -> list[tuple[str, list[str]]]:
    """(preset, assignments) of each of its combinations."""
    methods = yaml.safe_load(SWEEPS.read_text())["methods"]
    combinations = []
    for name, swept in methods.items():
        ((key, values),) = swept["sweep"].items()
        combinations += [(name, [f"{key}={value}"]) for value in values]
    return combinations


def test_the_reference_study_has_six_methods_with_six_values_each():
    names = [name for name, _ in sweeps()]
    assert len(set(names)) == 6
    assert [names.count(name) for name in dict.fromkeys(names)] == [6] * 6


@pytest.mark.parametrize(("name", "assignments"), sweeps(), ids=str)
def test_every_combination_of_the_reference_study_is_a_valid_setting(name, assignments):
    resolved = config.resolve(f"{name}-dsprites", assignments=assignments)
    if name.startswith("dip"):
        factor = 10 if name == "dip_vae_i" else 1
        dip = resolved.method.settings
        assert dip_vae.lambda_d(dip) == factor * dip.lambda_od
    assert resolved.train.steps == 300_000
