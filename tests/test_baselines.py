"""The presets of the mainstream methods, and the values that the reference study swept."""

from dataclasses import asdict
from pathlib import Path

import pytest

from didcli import config, registry
from didcli.engine.comparison_spec import read_spec
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
STUDY = {
    "beta-VAE": ("beta_vae", "beta", (1, 2, 4, 6, 8, 16)),
    "AnnealedVAE": ("annealed_vae", "c_max", (5, 10, 25, 50, 75, 100)),
    "FactorVAE": ("factor_vae", "gamma", (10, 20, 30, 40, 50, 100)),
    "DIP-VAE-I": ("dip_vae_i", "lambda_od", (1, 2, 5, 10, 20, 50)),
    "DIP-VAE-II": ("dip_vae_ii", "lambda_od", (1, 2, 5, 10, 20, 50)),
    "beta-TCVAE": ("beta_tcvae", "beta", (1, 2, 4, 6, 8, 10)),
}
"""By label: preset, the setting that was swept, its values. From get_default_models() in
config/unsupervised_study_v1/sweep.py of https://github.com/google-research/disentanglement_lib."""


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
    of_its_factors = {"latent_dim": 6} if preset.startswith("infogan") else {}
    assert changed == of_its_factors


def test_the_two_variants_of_dip_differ_in_the_weight_of_the_diagonal():
    first, second = (config.resolve(f"dip_vae_{v}-dsprites").method.settings for v in ("i", "ii"))
    assert (first.variant, dip_vae.lambda_d(first)) == ("i", 10 * first.lambda_od)
    assert (second.variant, dip_vae.lambda_d(second)) == ("ii", second.lambda_od)


@pytest.mark.parametrize("data", ["dsprites", "shapes3d"])
def test_the_sweep_of_the_reference_study_is_a_comparison_of_its_values(tmp_path, data):
    spec = tmp_path / "spec.yaml"
    spec.write_text(SWEEPS.read_text().replace("  name: dsprites\n", f"  name: {data}\n"))
    study = read_spec(spec)
    assert study.seeds == tuple(range(50))
    assert list(study.entries) == [
        f"{label}, {setting} {value}"
        for label, (_, setting, values) in STUDY.items()
        for value in values
    ]
    for label, (preset, setting, values) in STUDY.items():
        for value in values:
            expected = config.resolve(
                f"{preset}-{data}",
                assignments=[f"method.{setting}={value}", "train.picture_every=0"],
            )
            assert study.entries[f"{label}, {setting} {value}"] == expected
