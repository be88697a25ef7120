import dataclasses
import json
from pathlib import Path

import pytest

from didcli import config as settings
from didcli import registry
from didcli.engine.run_settings import settings_of
from didcli.errors import UnknownNameError, UsageError


def test_flags_beat_assignments_beat_file_beats_preset(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("train: {steps: 10, batch_size: 8, seed: 1}\n")
    resolved = settings.resolve(
        "did-dsprites-quick",
        file,
        ["train.batch_size=16", "train.seed=2"],
        {"train": {"seed": 3}},
    )
    assert (resolved.train.steps, resolved.train.batch_size, resolved.train.seed) == (10, 16, 3)
    assert resolved.method.name == "did"


@pytest.mark.parametrize("name", registry.presets())
def test_every_preset_is_valid_and_survives_yaml(name, tmp_path):
    resolved = settings.resolve(name)
    file = tmp_path / "config.yaml"
    file.write_text(resolved.to_yaml())
    assert settings.build([settings.load_file(file)]) == resolved


def test_all_problems_are_reported_at_once_with_the_nearest_key():
    layers = [
        settings.DEFAULTS,
        {"train": {"stepz": 5, "steps": "many", "seed": True}},
        {"method": {"lambda_hh": 1.0, "latent_dim": 0}},
        {"modell": {}},
    ]
    with pytest.raises(UsageError) as caught:
        settings.build(layers)
    message = str(caught.value)
    assert "6 problems" in message
    assert "train.stepz: no such setting. Did you mean 'steps'?" in message
    assert "train.steps: " in message
    assert "'many'" in message
    assert "train.seed: " in message
    assert "method.lambda_hh: no such setting. Did you mean 'lambda_h'?" in message
    assert "method.latent_dim: " in message
    assert "modell: no such setting" in message


def test_settings_that_contradict_each_other_are_reported():
    layers = [settings.DEFAULTS, {"method": {"step_min": 0.9, "step_max": 0.5}}]
    with pytest.raises(UsageError, match=r"method\.step_min: 0\.9 is above step_max, 0\.5"):
        settings.build(layers)


@pytest.mark.parametrize(
    ("unused", "message", "mend"),
    [
        ({"lambda_i": {5: 0, 9: 1}}, "lambda_i: no code is circular; give", {"circular": [0]}),
        ({"smooth": True, "networks": "stem"}, "smooth: stem networks", {"networks": "pyramid"}),
    ],
)
def test_a_setting_that_would_have_no_effect_is_refused(unused, message, mend):
    layers = [settings.DEFAULTS, {"method": unused}]
    with pytest.raises(UsageError, match=rf"method\.{message}"):
        settings.build(layers)
    settings.build([*layers, {"method": mend}])


@pytest.mark.parametrize(
    ("assignment", "key"),
    [
        ("method.temperature=.inf", "method.temperature"),
        ("method.lambda_o=1e400", "method.lambda_o"),
        ("method.lambda_r={0: .nan}", "method.lambda_r"),
        ("method.latent_dim=1e30", "method.latent_dim"),
        ("method.width=1e12", "method.width"),
        ("train.batch_size=1e12", "train.batch_size"),
        ("train.threads=1e12", "train.threads"),
        ("train.seed=18446744073709551616", "train.seed"),
        ("data.source=2024-13-45", "data.source"),  # YAML takes it for a date, and fails
    ],
)
def test_values_that_would_fail_later_are_refused_now(assignment, key):
    with pytest.raises(UsageError, match=rf"(?m)^  {key}"):
        settings.resolve(assignments=[assignment])


def test_an_unknown_method_is_one_of_the_problems():
    with pytest.raises(UsageError, match=r"method\.name: no 'didd' in methods. Did you mean 'did'"):
        settings.build([settings.DEFAULTS, {"method": {"name": "didd"}}])


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(UnknownNameError) as caught:
        settings.resolve("did-dsprite-quick")
    assert "did-dsprites-quick" in caught.value.hint


def test_another_method_drops_the_settings_of_the_former_one():
    layers = [{"method": {"name": "a", "x": 1}}, {"method": {"name": "b", "y": 2}}]
    assert settings._merge(layers) == {"method": {"name": "b", "y": 2}}


def test_assignments_are_of_the_method_and_the_dataset_that_flags_name():
    resolved = settings.resolve(
        assignments=["method.latent_dim=7", "data.kind=real"],
        flags={"method": {"name": "infogan"}, "data": {"name": "mpi3d"}, "train": {"steps": 3}},
    )
    assert resolved.method.settings.latent_dim == 7
    assert resolved.data.settings.kind == "real"
    assert resolved.train.steps == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("method.lambda_h=0.5", {"method": {"lambda_h": 0.5}}),
        ("method.lr_generator=1e-4", {"method": {"lr_generator": 1e-4}}),
        ("train.steps=2e5", {"train": {"steps": 200_000}}),
        ("method.lambda_h={5: 0, 5e3: 1e-1}", {"method": {"lambda_h": {5: 0, 5000: 0.1}}}),
        ("data.source=rendered", {"data": {"source": "rendered"}}),
        ("method.contrast=a=b", {"method": {"contrast": "a=b"}}),
    ],
)
def test_assignments(text, expected):
    assert settings.parse_assignment(text) == expected


@pytest.mark.parametrize("text", ["", "steps=5", "train.steps", "=5", "a.b.c=1", ".x=1"])
def test_an_assignment_without_section_or_value_is_refused(text):
    with pytest.raises(UsageError, match=r"section\.key=value"):
        settings.parse_assignment(text)


@pytest.mark.parametrize("content", ["[1, 2]", "train: 5", "a: [", "!!python/object:os.system x"])
def test_a_file_that_is_no_mapping_of_sections_is_refused(tmp_path, content):
    file = tmp_path / "bad.yaml"
    file.write_text(content)
    with pytest.raises(UsageError):
        settings.load_file(file)


def test_numbers_that_yaml_reads_as_text(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("method: {lr_generator: 1e-4, lambda_h: 1E+1}\ntrain: {steps: 1e5}\n")
    resolved = settings.resolve(file=file)
    assert resolved.method.settings.lr_generator == 1e-4
    assert resolved.method.settings.lambda_h == 10
    assert resolved.train.steps == 100_000
    resolved = settings.resolve(
        assignments=["method.lambda_h={0: 0, 9: 1e-1}", "method.lr_critic=2e-4"]
    )
    assert resolved.method.settings.lambda_h == {0: 0.0, 9: 0.1}
    assert resolved.method.settings.lr_critic == 2e-4


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("fast", "method.lambda_o: Input should be a valid number or a valid dictionary"),
        (-1, "method.lambda_o: Input should be greater than or equal to 0, got -1"),
        ({5: -1}, "method.lambda_o.5: Input should be greater than or equal to 0, got -1"),
        ({-5: 1}, "method.lambda_o.-5.[key]: Input should be greater than or equal to 0, got -5"),
        ({"soon": 1}, "method.lambda_o.soon.[key]: Input should be a valid integer, got 'soon'"),
        ({}, "method.lambda_o: Dictionary should have at least 1 item"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_schedule_is_said_once(value, problem):
    with pytest.raises(UsageError) as caught:
        settings.build([settings.DEFAULTS, {"method": {"lambda_o": value}}])
    assert problem in str(caught.value)
    assert "a problem:" in str(caught.value)


def test_a_schedule_survives_json():
    resolved = settings.resolve(assignments=["method.lambda_h={500: 0, 5000: 1}"])
    assert settings.build([json.loads(json.dumps(resolved.to_dict()))]) == resolved


def test_resuming_may_change_length_and_device_and_nothing_else():
    former = settings.resolve()
    longer = dataclasses.replace(former.train, steps=9_999, device="cpu", threads=1)
    settings.check_resumable(former, dataclasses.replace(former, train=longer))
    other = dataclasses.replace(former, train=dataclasses.replace(former.train, batch_size=32))
    with pytest.raises(UsageError, match=r"train\.batch_size: 64 -> 32"):
        settings.check_resumable(former, other)


def test_a_key_that_comes_twice_is_refused(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("train: {steps: 5}\nmethod:\n  latent_dim: 6\n  latent_dim: 8\n")
    with pytest.raises(UsageError, match=r"'latent_dim' is there twice.* line 4"):
        settings.load_file(file)
    file.write_text("method: &shared {latent_dim: 6}\ndata: {<<: *shared, latent_dim: 8}\n")
    assert settings.load_file(file)["data"] == {"latent_dim": 8}  # an override that is asked for


@pytest.mark.parametrize("name", ["did-dsprites", "did-shapes3d"])
def test_a_file_that_names_its_method_stands_in_for_the_preset(name):
    """What such a file leaves out has its default: a pretrained model can be trained again."""
    folder = Path(__file__).parent.parent / "examples" / "pretrained" / name
    assert settings.resolve(file=folder / "config.yaml") == settings_of(folder)


def test_a_file_without_a_method_is_on_top_of_the_preset(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("train: {steps: 5}")
    wanted = settings.resolve(flags={"train": {"steps": 5}})
    assert settings.resolve(file=file) == wanted
    assert wanted.method == settings.resolve().method


@pytest.mark.parametrize(
    "asked",
    [{"flags": {"data": {"name": "shapes3d"}}}, {"assignments": ["data.name=shapes3d"]}],
    ids=str,
)
def test_the_default_preset_is_the_one_for_the_data(asked):
    assert settings.resolve(**asked) == settings.resolve("did-shapes3d-quick")
    other = settings.resolve(flags={"data": {"name": "cars3d"}})  # has none of its own
    assert other.method == settings.resolve().method


@pytest.mark.parametrize("data", ["dsprites", "shapes3d"])
@pytest.mark.parametrize("method", sorted(set(registry.names("methods")) - {"did", "dip_vae"}))
def test_the_default_preset_is_the_one_for_the_method(method, data):
    """Schedules of their authors make no sense within the few steps of DiD's presets."""
    flags = {"method": {"name": method}, "data": {"name": data}}
    assert settings.resolve(flags=flags) == settings.resolve(f"{method}-{data}")
    fewer = settings.resolve(flags={**flags, "train": {"steps": 7}})
    assert (fewer.train.steps, fewer.train.save_every) == (7, 5000)


@pytest.mark.parametrize("data", ["dsprites", "shapes3d"])
@pytest.mark.parametrize("variant", [None, "i", "ii"])
def test_of_presets_for_variants_it_is_that_of_the_variant(variant, data):
    asked = [] if variant is None else [f"method.variant={variant}"]
    resolved = settings.resolve(
        assignments=asked, flags={"method": {"name": "dip_vae"}, "data": {"name": data}}
    )
    assert resolved == settings.resolve(f"dip_vae_{variant or 'i'}-{data}")


def test_a_method_without_a_preset_for_the_data_takes_the_steps_of_the_default():
    resolved = settings.resolve(flags={"method": {"name": "vae"}, "data": {"name": "cars3d"}})
    assert resolved.method == settings.resolve("vae-dsprites").method
    assert resolved.train == settings.resolve().train


@pytest.mark.parametrize("value", ["{500:0, 5000: 0.3}", "{500: 0,5000:0.3}", "{3: {8:1}}"])
def test_a_colon_without_its_space_is_explained(value):
    with pytest.raises(UsageError, match="has a space after it") as caught:
        settings.resolve(assignments=[f"method.lambda_h={value}"])
    assert "{500: 0, 5000: 0.3}" in caught.value.hint


def test_codes_beyond_the_number_of_codes_are_named_at_once():
    with pytest.raises(UsageError, match=r"a problem:\n  method\.polar and opening: .* not 4;"):
        settings.resolve(assignments=["method.latent_dim=4"])
