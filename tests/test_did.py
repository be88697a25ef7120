"""DiD: its pairs, its gradients, and every ablation; that it learns is shown at the end."""

import copy
import dataclasses

import pytest
import torch

from didcli.errors import UsageError
from didcli.methods import did
from didcli.nn import losses, parallel
from didcli.nn.codes import draw_neighbours, draw_pairs
from didcli.nn.decoders import LeakyClamp

SHAPE = (1, 32, 32)
CPU = torch.device("cpu")


def config(**changes) -> did.Config:
    small = did.Config(latent_dim=4, noise_dim=2, width=4, lambda_h={0: 0.0, 1: 1.0})
    return dataclasses.replace(small, **changes)


def model(**changes) -> did.Did:
    torch.manual_seed(0)
    return did.build(config(**changes), SHAPE)


def images(count: int = 16) -> torch.Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(2)).round()


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weights(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])


def test_learning_rates_follow_their_factor():
    falling = {100: 1.0, 300: 0.02}
    method = model(lr_factor=falling, lr_generator=1e-3, lr_critic=2e-3)
    for step, factor in [(0, 1.0), (100, 1.0), (200, 0.51), (300, 0.02), (400, 0.02)]:
        method.train_step(images(), rng(step), step)
        rates = {name: o.param_groups[0]["lr"] for name, o in method.optimisers.items()}
        assert rates["g"] == pytest.approx(1e-3 * factor)
        assert rates["d"] == pytest.approx(2e-3 * factor)


@pytest.mark.parametrize(
    "changes",
    [
        {"categories": {6: 3}, "latent_dim": 6},
        {"step_min": 0.8, "step_max": 0.5},
        {"circular": [6], "latent_dim": 6},
        {"circular": [1, 1]},
        {"circular": [0], "categories": {0: 3}},
        {"polar": {0: 6}, "latent_dim": 6},
        {"polar": {1: 1}},
        {"polar": {0: 1, 2: 1}},
        {"polar": {0: 1}, "circular": [0]},
        {"polar": {0: 1}, "categories": {1: 3}},
        {"polar": {0: 1}, "opening": {1: {0: 0.0, 5: 1.0}}},
        {"opening": {6: {0: 0.0, 5: 1.0}}, "latent_dim": 6},
        {"opening": {1: {0: 0.0, 5: 1.0}, 0: {0: 0.0, 5: 1.0}}, "latent_dim": 3},
        {"opening": {1: {}}},
        {"opening": {1: {0: 1.0, 100: 0.0}}},
        {"opening": {1: {0: 0.0, 100: 0.5}}},
    ],
    ids=str,
)
def test_settings_that_contradict_each_other_are_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        did.Config(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"adversary": "nonsaturating", "penalty": 4.0},
        {"lambda_h": 0.0},
        {"lambda_e": 0.0},
        {"contrast": "pairwise"},
        {"contrast": "push"},
        {"difference": "features", "pool": 2},
        {"difference": "concat", "pool": 0},
        {"perturbation": "redraw"},
        {"noise_dim": 0},
        {"networks": "classic"},
        {"networks": "stem"},
        {"networks": "pyramid", "smooth": True, "leak": 0.1},
        {"instance_noise": 0.0},
        {"penalty_every": 4},
        {"categories": {0: 3}},
        {"categories": {1: 2, 3: 4}, "opening": {1: {0: 0.0, 1: 1.0}}},
        {"pairs": 0},
        {"pairs": 5},
        {"lambda_o": 1.0},
        {"lambda_o": 1.0, "overlap": "signed"},
        {"lambda_o": 1.0, "lambda_h": 0.0, "anchors": 100},
        {"lambda_r": 1.0},
        {"lambda_r": 1.0, "noise_dim": 0, "reconstructed": 100},
        {"opening": {2: {1: 0.0, 2: 1.0}, 3: {1: 0.0, 2: 1.0}}},
        {"circular": [0, 2]},
        {"circular": [0, 1, 2, 3], "lambda_o": 1.0, "lambda_r": 1.0},
        {"circular": [0, 1], "lambda_i": 1.0},
        {"circular": [0], "lambda_i": {0: 0.0, 2: 1.0}, "overlap": "signed", "lambda_h": 0.0},
        {"circular": [0, 3], "opening": {3: {1: 0.0, 2: 1.0}}, "lambda_r": 1.0},
        {"polar": {3: 1}},
        {"polar": {2: 3}, "circular": [0], "lambda_o": 1.0, "overlap": "signed", "lambda_r": 1.0},
        {
            "polar": {2: 3},
            "opening": {2: {1: 0.0, 2: 1.0}, 3: {1: 0.0, 2: 1.0}},
            "lambda_r": 1.0,
        },
        {"lambda_k": 1.0, "circular": [0], "opening": {2: {0: 0.0, 1: 1.0}}},
        {"smooth": True},
    ],
    ids=str,
)
def test_every_choice_trains_the_networks_it_has(changes):
    method = model(**changes)
    networks = "gde" if changes.get("lambda_h") == 0.0 else "gdeh"
    assert hasattr(method, "h") == ("h" in networks)
    before = {name: weights(getattr(method, name)) for name in networks}
    for step in range(2):
        logs = method.train_step(images(), rng(step), step)
    for name in networks:
        assert not torch.equal(before[name], weights(getattr(method, name))), name
    assert all(torch.isfinite(value) and not value.requires_grad for value in logs.values())
    optional = {
        "contrast": "h" in networks,
        "h_accuracy": "h" in networks,
        "overlap": changes.get("lambda_o"),
        "unevenness": changes.get("lambda_i"),
        "reconstruction": changes.get("lambda_r"),
        "keeping": changes.get("lambda_k"),
    }
    always = {"critic", "generator", "encoding", "fake_mean", "fake_sd", "real_mean", "real_sd"}
    assert logs.keys() == always | {name for name, there in optional.items() if there}


def test_noise_is_on_all_that_d_e_and_h_see_and_follows_its_schedule():
    method = model(instance_noise={10: 0.2, 20: 0.1}, lambda_r=1.0, adversary="nonsaturating")
    for parameter in method.g.parameters():
        parameter.data.zero_()  # an even image
    for optimiser in method.optimisers.values():
        optimiser.step = lambda: None
    seen = {"d": [], "e": [], "h": []}
    for name, batches in seen.items():
        getattr(method, name).register_forward_pre_hook(
            lambda _, inputs, batches=batches: batches.extend(inputs[0].split(16))
        )
    grey = torch.full((16, *SHAPE), 0.5)
    for step, sd in ((10, 0.2), (15, 0.15), (30, 0.1)):
        method.train_step(grey, rng(step), step)
        for batches in seen.values():
            assert batches
            assert all(batch.std().item() == pytest.approx(sd, rel=0.1) for batch in batches)
            batches.clear()


def test_the_output_of_g_is_linear_unless_it_leaks_less():
    assert not isinstance(model().g.tail[-1], LeakyClamp)
    assert model(leak=0.25).g.tail[-1].leak == 0.25


def gradients_reaching_g(method: did.Did) -> torch.Tensor:
    """The gradient of one step in G's weights. SGD with rate 1 would move them by its negative."""
    caught = []
    optimiser = method.optimisers["g"]
    optimiser.step = lambda: caught.append(  # type: ignore[method-assign]
        torch.cat([p.grad.flatten().clone() for p in method.g.parameters()])
    )
    method.train_step(images(), rng(), 10)
    return caught[0]


def test_lambda_e_zero_keeps_the_encoder_from_g_and_lets_it_learn():
    without = gradients_reaching_g(model(lambda_e=0.0, lambda_h=0.0))
    single, double = (
        gradients_reaching_g(model(lambda_e=weight, lambda_h=0.0)) for weight in (1.0, 2.0)
    )
    assert not torch.allclose(single, without)
    # Linear in lambda_e: what reaches G is the weight times one and the same gradient.
    assert torch.allclose(double - without, 2.0 * (single - without), atol=1e-6)


@pytest.mark.parametrize("overlap", ["absolute", "signed"])
def test_l_o_is_the_overlap_of_changes_from_one_anchor_and_reaches_g_alone(overlap):
    settings = {"instance_noise": 0.0, "lambda_h": 0.0, "anchors": 5, "overlap": overlap}
    # Not compared with a weight of 0, for which other images are drawn.
    one, two, four = (gradients_reaching_g(model(lambda_o=w, **settings)) for w in (1.0, 2.0, 4.0))
    assert not torch.allclose(one, two)
    # In float32 the small differences of an untrained G cancel: the gradients are up to .93.
    assert torch.allclose(four - two, 2.0 * (two - one), atol=1e-2)

    method = model(lambda_o=1.0, **settings)
    generator = copy.deepcopy(method.g)
    logs = method.train_step(images(), rng(), 10)
    # The same draws again: pairs, noise, neighbours.
    again = rng()
    codes, _, _ = draw_pairs(method.config, 16, CPU, again, 10)
    z = torch.rand((16, 2), generator=again) * 2 - 1
    anchors = torch.cat((codes, z), dim=1)[:5]
    with torch.no_grad():
        origin = generator(anchors)
        small_step = method.config.small_step if overlap == "signed" else None
        moved = generator(draw_neighbours(method.config, anchors, small_step, again, 10))
    first, second = (part - origin for part in moved.chunk(2))
    if overlap == "absolute":
        first, second = first.abs().sum(dim=1), second.abs().sum(dim=1)
    cosines = [
        float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt())
        for a, b in zip(first, second, strict=True)
    ]
    expected = [value if overlap == "absolute" else value**2 for value in cosines]
    assert logs["overlap"].item() == pytest.approx(sum(expected) / 5, rel=1e-3)


def test_l_rec_is_the_error_of_real_images_through_e_and_g():
    settings = {"instance_noise": 0.0, "lambda_h": 0.0, "lambda_e": 0.0, "noise_dim": 0}
    method = model(lambda_r=1.0, reconstructed=8, **settings)
    e, g = copy.deepcopy(method.e), copy.deepcopy(method.g)
    batch = images()
    logs = method.train_step(batch, rng(), 10)
    with torch.no_grad():
        again = g(e(batch[:8]).clamp(-1, 1))
    assert logs["reconstruction"].item() == pytest.approx(
        float((again - batch[:8]).square().mean())
    )

    # It reaches G in proportion to its weight.
    without = gradients_reaching_g(model(**settings))
    single, double = (
        gradients_reaching_g(model(lambda_r=weight, **settings)) for weight in (1.0, 2.0)
    )
    assert not torch.allclose(single, without)
    assert torch.allclose(double - without, 2.0 * (single - without), atol=1e-6)


@pytest.mark.parametrize(("overlap", "more"), [("absolute", 0), ("signed", 2 * 16)])
def test_a_term_costs_nothing_before_its_ramp(overlap, more):
    """No pass through G or E for a weight of 0."""
    late = {100: 0.0, 101: 1.0}
    method = model(lambda_o=late, lambda_r=late, lambda_h=0.0, overlap=overlap)
    seen = []
    method.g.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    assert not {"overlap", "reconstruction"} & method.train_step(images(), rng(), 10).keys()
    assert seen == [16]
    assert {"overlap", "reconstruction"} <= method.train_step(images(), rng(), 101).keys()
    assert seen == [16, 16 + more, 16]


def test_the_neighbours_of_absolute_overlap_are_fakes_like_the_others():
    method = model(lambda_o=1.0, anchors=5, pairs=16, instance_noise=0.0)
    seen = {"g": [], "d": [], "e": [], "h": []}
    for name, batches in seen.items():
        getattr(method, name).register_forward_pre_hook(
            lambda _, inputs, batches=batches: batches.append([part.clone() for part in inputs])
        )
    generator = copy.deepcopy(method.g)
    method.train_step(images(), rng(), 10)
    (codes,) = seen["g"][0]
    for neighbours in (codes[6:11], codes[11:16]):
        assert ((neighbours != codes[:5]).sum(dim=1) == 1).all()
    # H sees the six images that are not neighbours, each changed in one dimension.
    assert len(codes) == 16 + 6
    assert ((codes[16:] != codes[:6]).sum(dim=1) == 1).all()
    with torch.no_grad():
        drawn = generator(codes)
    for network in "de":
        assert any(torch.allclose(batch[-16:], drawn[:16]) for (batch,) in seen[network])
    firsts, seconds = seen["h"][0]
    assert torch.allclose(firsts, drawn[:6])
    assert torch.allclose(seconds, drawn[16:])


def test_a_batch_without_room_for_the_neighbours_is_refused():
    with pytest.raises(UsageError, match=r"no room for anchors \(method\.anchors\)"):
        model(lambda_o=1.0).train_step(images(2), rng(), 0)


def test_l_rec_pulls_codes_of_real_images_back_into_their_range():
    method = model(lambda_r=1.0, lambda_h=0.0)
    with torch.no_grad():
        method.e.head[-1].bias.fill_(3.0)
    before = method.e(images()).mean()
    for step in range(30):
        method.train_step(images(), rng(step), step)
    # L_enc alone would too, of generated images: compare with a run without L_rec.
    other = model(lambda_h=0.0)
    with torch.no_grad():
        other.e.head[-1].bias.fill_(3.0)
    for step in range(30):
        other.train_step(images(), rng(step), step)
    assert method.e(images()).mean() < other.e(images()).mean() < before


def test_codes_that_are_not_open_yet_do_nothing():
    later = {100: 0.0, 200: 1.0}
    closed = {"opening": {2: later, 3: later}, "lambda_h": 0.0}
    method = model(**closed, lambda_o=1.0, lambda_r=1.0)
    caught = []
    method.g.register_forward_pre_hook(lambda _module, inputs: caught.append(inputs[0].detach()))
    method.train_step(images(), rng(), 10)
    assert len(caught) == 2  # generated images; reconstructions
    for inputs in caught:
        assert torch.equal(inputs[:, 2:4], torch.zeros(len(inputs), 2))
        assert (inputs[:, [0, 1, 4, 5]] != 0).all()
    caught.clear()
    method.train_step(images(), rng(), 150)
    assert 0 < caught[0][:, 2:4].abs().max() <= 0.5


LATER = {2: {9: 0.0, 20: 1.0}, 3: {9: 0.0, 20: 1.0}}


def test_l_k_is_the_error_of_what_e_was_when_codes_began_to_open():
    method = model(lambda_k=1.0, opening=LATER, instance_noise=0.0)
    for step in range(10):
        assert "keeping" not in method.train_step(images(), rng(step), step)
    kept, generator = copy.deepcopy(method.e_ema), copy.deepcopy(method.g)
    caught = []
    method.g.register_forward_pre_hook(lambda _module, inputs: caught.append(inputs[0].detach()))
    logs = method.train_step(images(), rng(), 10)
    with torch.no_grad():
        read = kept(generator(caught[0][:16]))[:, :2]
    expected = (read - caught[0][:16, :2]).square().mean()
    assert logs["keeping"].item() == pytest.approx(float(expected), rel=1e-5)
    # It stays what it was then, in a run that goes on from a checkpoint, too.
    resumed = model(lambda_k=1.0, opening=LATER, instance_noise=0.0)
    resumed.load_state_dict(method.state_dict())
    logs, again = (each.train_step(images(), rng(11), 11) for each in (method, resumed))
    assert again["keeping"] == logs["keeping"]
    assert torch.equal(weights(method.e_kept), weights(kept))
    assert not torch.equal(weights(method.e_ema), weights(kept))


def test_l_k_reaches_g_in_proportion_to_its_weight_and_no_encoder():
    settings = {"opening": LATER, "instance_noise": 0.0, "lambda_h": 0.0, "lambda_e": 0.0}
    without, single, double = (
        gradients_reaching_g(model(lambda_k={10: weight, 20: 0.0}, **settings))
        for weight in (1e-9, 1.0, 2.0)
    )
    assert not torch.allclose(single, without)
    assert torch.allclose(double - without, 2.0 * (single - without), atol=1e-6)

    def encoder_after_a_step(weight: float) -> torch.Tensor:
        method = model(lambda_k={10: weight, 20: 0.0}, **settings)
        method.train_step(images(), rng(), 10)
        return weights(method.e)

    assert torch.equal(encoder_after_a_step(1.0), encoder_after_a_step(2.0))


def test_before_its_ramp_l_h_trains_h_and_leaves_g_alone():
    later = {"lambda_h": {100: 0.0, 200: 1.0}}
    # Without instance noise, of which a step with H draws more.
    early = gradients_reaching_g(model(instance_noise=0.0, **later))
    without = gradients_reaching_g(model(instance_noise=0.0, lambda_h=0.0))
    assert torch.allclose(early, without, atol=1e-6)
    method = model(**later)
    before = weights(method.h)
    method.train_step(images(), rng(), 10)
    assert not torch.equal(before, weights(method.h))


def test_encode_and_decode_are_deterministic_and_in_range():
    method = model()
    codes = method.encode(images())
    assert codes.shape == (16, 4)
    decoded = method.decode(codes)
    assert decoded.shape == (16, *SHAPE)
    assert decoded.min() >= 0
    assert decoded.max() <= 1
    assert torch.equal(decoded, method.decode(codes))


def test_swapping_codes_of_the_generator_swaps_what_the_pairs_show():
    """H names a change by what it looks like: dimension i of G is dimension j of a swapped G."""
    method = model(noise_dim=0)
    codes, moved, _ = draw_pairs(method.config, 8, CPU, rng(), 0)
    swap = [1, 0, 2, 3]
    straight = method.h(method.g(codes), method.g(moved))
    with torch.no_grad():
        method.g.of_codes.weight.copy_(method.g.of_codes.weight[:, swap])
    swapped = method.h(method.g(codes[:, swap]), method.g(moved[:, swap]))
    assert torch.allclose(straight, swapped, atol=1e-5)


def test_encoder_and_h_learn_a_generator_that_does_not_move():
    """With G held still, E recovers the codes and H names the changed dimension, from pixels."""
    torch.manual_seed(0)
    cfg = config(latent_dim=3, width=8, noise_dim=0, lambda_e=0.0, lr_generator=1e-12)
    later = {10**6: 0.0, 10**6 + 1: 1.0}
    cfg = dataclasses.replace(cfg, instance_noise=0.02, lr_encoders=2e-3, lambda_h=later)
    method = did.build(cfg, SHAPE)
    with torch.no_grad():  # a generator whose codes are plain to see: each moves its own pixels
        for parameter in method.g.parameters():
            parameter.mul_(2.0)
    first = method.train_step(images(64), rng(0), 0)
    logs = [method.train_step(images(64), rng(step), step) for step in range(1, 150)]
    assert logs[-1]["encoding"] < 0.5 * first["encoding"]
    # The last 20 together: how a step rounds on this machine moves its own figure.
    assert sum(float(log["h_accuracy"]) for log in logs[-20:]) / 20 > 0.8


@pytest.mark.parametrize("name", ["pairs", "anchors", "reconstructed"])
def test_a_part_that_processes_cannot_share_is_refused_at_the_first_step(name, monkeypatch):
    """Also where its loss sets in thousands of steps later."""
    later = {"lambda_h": {5000: 0.0, 6000: 1.0}, "lambda_o": {5000: 0.0, 6000: 1.0}}
    config = did.Config(**later, lambda_r={5000: 0.0, 6000: 1.0}, width=4, **{name: 15})
    method = did.build(config, SHAPE)
    monkeypatch.setattr(parallel, "processes", lambda: 2)
    with pytest.raises(UsageError, match=rf"15 {name} \(method\.{name}\) cannot be shared out"):
        method._sizes(32, step=0)


def test_processes_share_what_one_would_take_of_a_batch(monkeypatch):
    """Of 64 images, whatever number of processes they are shared out to."""
    config = did.Config(lambda_h=1.0, lambda_o=1.0, lambda_r=1.0, width=4, anchors=16, pairs=0)
    method = did.build(config, SHAPE)
    for count in (1, 2, 4, 8):
        monkeypatch.setattr(parallel, "processes", lambda count=count: count)
        sizes = method._sizes(64 // count, step=0)
        whole = (sizes.fakes, sizes.pairs, sizes.anchors, sizes.reconstructed)
        assert tuple(count * part for part in whole) == (64, 32, 16, 32)
    # Fewer than a third of each one's images would fit, but not in equal parts.
    method = did.build(did.Config(lambda_h=0.0, lambda_o=1.0, width=4, anchors=20), SHAPE)
    with pytest.raises(UsageError, match="20 anchors"):
        method._sizes(8, step=0)


def test_l_i_alone_sets_in_with_its_ramp():
    method = model(circular=[0], lambda_i={0: 0.0, 2: 1.0}, lambda_h=0.0)
    assert "unevenness" not in method.train_step(images(), rng(0), 0)
    assert "unevenness" in method.train_step(images(), rng(1), 1)


@pytest.mark.parametrize("name", ["lambda_o", "lambda_i", "lambda_r", "lambda_e", "lambda_k"])
def test_a_weight_is_that_of_its_step(name):
    common = {"circular": [0], "instance_noise": 0.0, "lambda_h": 0.0, "opening": LATER}
    ramp = gradients_reaching_g(model(**common, **{name: {0: 0.0, 20: 3.0}}))
    flat = gradients_reaching_g(model(**common, **{name: 1.5}))
    assert torch.allclose(ramp, flat, atol=1e-6)


def test_e_is_kept_anew_whenever_codes_begin_to_open():
    opening = {2: {1: 0.0, 9: 1.0}, 3: {3: 0.0, 9: 1.0}}
    method = model(lambda_k=1.0, opening=opening, instance_noise=0.0)
    for step in range(4):
        method.train_step(images(), rng(step), step)
    before = weights(method.e_ema)
    method.train_step(images(), rng(4), 4)
    assert torch.equal(weights(method.e_kept), before)


def test_l_k_holds_a_circular_code_by_its_cosine_and_its_sine():
    method = model(lambda_k=1.0, circular=[0], opening=LATER, instance_noise=0.0)
    kept, generator, caught = copy.deepcopy(method.e_ema), copy.deepcopy(method.g), []
    method.g.register_forward_pre_hook(lambda _module, inputs: caught.append(inputs[0].detach()))
    logs = method.train_step(images(), rng(), 10)
    inputs = caught[0][:16]
    with torch.no_grad():
        error = kept(generator(inputs)) - inputs[:, :5]
    held = [0, 1, 4]  # the cosine of code 0, code 1, the sine of code 0
    expected = error[:, held].square().mean().item()
    assert logs["keeping"].item() == pytest.approx(expected, rel=1e-5)


def test_images_are_compared_without_the_noise_that_networks_see():
    method = model(lambda_r=1.0, lambda_o=1.0, lambda_i=1.0, circular=[0], instance_noise=0.3)
    for parameter in method.g.parameters():
        parameter.data.zero_()  # black, whatever the codes
    logs = method.train_step(images(), rng(), 0)
    expected = images().square().mean().item()
    assert logs["reconstruction"].item() == pytest.approx(expected, rel=1e-5)
    assert logs["overlap"] == logs["unevenness"] == 0


def test_the_encoder_that_is_kept_sees_the_noise_too():
    method, seen = model(instance_noise=0.2, lambda_k=1.0, opening=LATER), []
    for parameter in method.g.parameters():
        parameter.data.zero_()
    method.e_kept.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    method.train_step(images(), rng(), 10)
    assert seen[0].std().item() == pytest.approx(0.2, rel=0.1)


def test_a_step_draws_codes_as_far_as_they_reach_at_it():
    method, caught = model(circular=[3], opening={3: {10: 0.0, 20: 1.0}}), []
    method.g.register_forward_pre_hook(lambda _module, inputs: caught.append(inputs[0]))
    method.train_step(images(), rng(), 15)
    assert torch.allclose(caught[0][:, 3:5].norm(dim=1), torch.tensor(0.5))


def test_e_and_h_follow_the_factor_of_the_rates():
    method = model(lr_factor={100: 1.0, 300: 0.02}, lr_encoders=3e-3)
    method.train_step(images(), rng(), 200)
    assert method.optimisers["eh"].param_groups[0]["lr"] == pytest.approx(3e-3 * 0.51)


def test_it_says_which_of_its_codes_are_angles():
    assert set(model(circular=[1], polar={0: 2}).angles) == {0, 1}
    assert model().angles == ()


def test_codes_are_read_and_drawn_by_the_averages_with_z_at_its_mean():
    method = model(circular=[1], polar={0: 2})
    for network in (method.g, method.e):
        for parameter in network.parameters():
            parameter.data.fill_(0.1)
    point = torch.tensor([0.0, 0.0, 1.0, 0.3, 1.0])  # both angles a quarter turn, the radius 1
    last = method.e_ema.head[-1]
    last.weight.data.zero_()
    last.bias.data.copy_(point)
    codes = torch.tensor([[0.5, 0.5, 1.0, 0.3]])
    assert torch.allclose(method.encode(images(1)), codes, atol=1e-6)
    expected = method.g_ema(torch.cat((point, torch.zeros(2)))[None]).clamp(0, 1)
    assert torch.allclose(method.decode(codes), expected, atol=1e-5)


def test_contrast_and_penalty_are_in_float32_under_autocast(monkeypatch):
    inside = []

    def noted(name):
        real = getattr(losses, name)

        def term(*args):
            inside.append((name, torch.is_autocast_enabled("cpu")))
            return real(*args)

        monkeypatch.setattr(losses, name, term)

    noted("supervised_info_nce")
    noted("gradient_penalty")
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
        model().train_step(images(), rng(), 0)
    assert sorted(inside) == [("gradient_penalty", False), ("supervised_info_nce", False)]


def test_optimisers_own_all_that_has_gradients_and_nothing_else():
    method = model(lambda_k=1.0, opening=LATER)
    owned = {
        id(weight)
        for optimiser in method.optimisers.values()
        for group in optimiser.param_groups
        for weight in group["params"]
    }
    assert {id(weight) for weight in method.parameters() if weight.requires_grad} == owned
