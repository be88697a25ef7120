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
VAE = {"latent_dim": 10, "networks": "classic", "lr": 1e-4, "beta1": 0.9, "beta2": 0.999}
TC = {
    "discriminator_width": 1000,
    "lr_discriminator": 1e-4,
    "discriminator_beta1": 0.5,
    "discriminator_beta2": 0.9,
}
GAN = {
    "latent_dim": 5,
    "noise_dim": 5,
    "information": 0.05,
    "networks": "classic",
    "lr_generator": 1e-3,
    "lr_discriminator": 2e-3,
    "beta1": 0.5,
    "beta2": 0.999,
    "generator_steps": 2,
}
AUTHORS = {
    "vae": (300_000, VAE),
    "beta_vae": (300_000, VAE | {"beta": 4}),
    "annealed_vae": (300_000, VAE | {"gamma": 1000, "c_max": 25, "annealing_steps": 100_000}),
    "factor_vae": (300_000, VAE | TC | {"gamma": 40}),
    "beta_tcvae": (300_000, VAE | {"beta": 6, "estimator": "mws"}),
    "dip_vae_i": (300_000, VAE | {"variant": "i", "lambda_od": 10}),
    "dip_vae_ii": (300_000, VAE | {"variant": "ii", "lambda_od": 10}),
    "infogan": (322_560, GAN),
    "infogan_cr": (322_560, GAN | {"cr": 2, "cr_from": 288_000, "lr_cr": 2e-3}),
}
"""By preset: steps of 64 images, and settings, typed in from their sources. Of the VAEs:
config/unsupervised_study_v1 (model_configs/shared.gin and sweep.py) of
https://github.com/google-research/disentanglement_lib, and one of the values that it swept:
https://openreview.net/forum?id=Sy2fzU9gl (beta 4), https://arxiv.org/abs/1804.03599 (c_max 25),
https://arxiv.org/abs/1802.04942 (beta 6), FactorVAE_dSprites/config.py of
https://github.com/fjxmlzn/InfoGAN-CR (gamma 40). Of the GANs: InfoGAN-CR_dSprites/config.py and
gan/infogan_cr.py there; 28 epochs of 737,280 images."""
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


@pytest.mark.parametrize(("preset", "expected"), AUTHORS.items())
def test_a_preset_has_its_authors_numbers_and_no_others(preset, expected):
    layer = config.load_preset(f"{preset}-dsprites")
    settings = {name: value for name, value in layer["method"].items() if name != "name"}
    assert (layer["train"]["steps"], settings) == expected
    assert layer["train"]["batch_size"] == 64


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
