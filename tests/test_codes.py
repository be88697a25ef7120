"""The codes of DiD: their laws, pairs, neighbours, and when they open."""

import dataclasses

import pytest
import torch

from didcli.nn import codes as draws
from didcli.nn.codes import CodeConfig

CPU = torch.device("cpu")


def config(**changes) -> CodeConfig:
    return dataclasses.replace(CodeConfig(latent_dim=4, noise_dim=2), **changes)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("perturbation", ["step", "redraw"])
def test_a_pair_differs_in_the_named_dimension_alone(perturbation):
    cfg = config(perturbation=perturbation, step_min=0.2, step_max=0.6)
    codes, moved, changed = draws.draw_pairs(cfg, 5000, CPU, rng(), 0)
    differs = codes != moved
    assert differs.sum(dim=1).tolist() == [1] * 5000
    assert torch.equal(differs.float().argmax(dim=1), changed)
    assert codes.abs().max() <= 1
    assert moved.abs().max() <= 1
    share = torch.bincount(changed, minlength=4) / 5000
    assert share.tolist() == pytest.approx([0.25] * 4, abs=0.03)


def test_steps_keep_to_their_sizes_and_take_both_directions():
    cfg = config(step_min=0.2, step_max=0.6)
    codes, moved, changed = draws.draw_pairs(cfg, 5000, CPU, rng(), 0)
    step = (moved - codes).gather(1, changed[:, None]).squeeze(1)
    assert step.abs().min() == pytest.approx(0.2, abs=0.01)
    assert step.abs().max() == pytest.approx(0.6, abs=0.01)
    assert (step > 0).float().mean() == pytest.approx(0.5, abs=0.03)


def test_codes_are_uniform_with_the_variance_of_a_uniform_law():
    codes, _, _ = draws.draw_pairs(config(), 20_000, CPU, rng(), 0)
    assert codes.mean().item() == pytest.approx(0.0, abs=0.02)
    assert codes.var().item() == pytest.approx(1 / 3, abs=0.01)


@pytest.mark.parametrize("small_step", [None, 0.25])
def test_neighbours_leave_one_anchor_in_two_dimensions(small_step):
    cfg = config(step_min=0.4, step_max=0.6)
    inputs = torch.rand(4000, 6, generator=rng()) * 2 - 1
    neighbours = draws.draw_neighbours(cfg, inputs, small_step, rng(), 0)
    moves = neighbours - inputs.repeat(2, 1)
    changed = moves != 0
    assert changed.sum(dim=1).tolist() == [1] * 8000
    sizes = moves[changed].abs()
    if small_step:
        assert sizes.tolist() == pytest.approx([0.25] * 8000, abs=1e-6)
    else:
        assert (sizes.min(), sizes.max()) == (
            pytest.approx(0.4, abs=0.01),
            pytest.approx(0.6, abs=0.01),
        )
        assert neighbours.abs().max() <= 1
    assert (moves > 0).sum() == pytest.approx(4000, abs=200)
    first, second = changed.int().argmax(dim=1).chunk(2)
    # Never the noise, never the same dimension twice, every couple of two equally often.
    assert max(first.max(), second.max()) == 3
    couples = torch.bincount(first * 4 + second, minlength=16).reshape(4, 4) / 4000
    assert torch.allclose(couples, (1 - torch.eye(4)) / 12, atol=0.02)


def test_a_code_of_categories_has_so_many_values_and_changes_to_another():
    cfg = config(categories={2: 3, 1: 2})
    codes, moved, changed = draws.draw_pairs(cfg, 3000, CPU, rng(), 0)
    values = {1: [-1.0, 1.0], 2: [-1.0, 0.0, 1.0]}
    for code, expected in values.items():
        found, counts = codes[:, code].unique(return_counts=True)
        assert found.tolist() == expected
        assert counts.tolist() == pytest.approx([3000 / len(expected)] * len(expected), abs=120)
        own = changed == code
        assert (codes[own, code] != moved[own, code]).all()
        assert moved[own, code].unique().tolist() == expected
    assert len(set(codes[:, 0].tolist())) > 2900  # the others stay uniform
    neighbours = draws.draw_neighbours(cfg, torch.cat((codes, codes[:, :2]), 1), None, rng(1), 0)
    for code, expected in values.items():
        changed = neighbours[:, code] != codes[:, code].repeat(2)
        assert changed.float().mean() == pytest.approx(0.25, abs=0.03)
        assert neighbours[changed, code].unique().tolist() == expected


LATER = {100: 0.0, 200: 1.0}


def test_codes_open_as_their_schedules_say_and_noise_is_open_at_once():
    cfg = config(opening={3: LATER, 1: {150: 0.0, 200: 0.5, 300: 1.0}})
    reaches = {step: draws.ranges(cfg, step, CPU).tolist() for step in (0, 100, 125, 200, 999)}
    assert reaches == {
        step: [1.0, second, 1.0, fourth, 1.0, 1.0]
        for step, second, fourth in [
            (0, 0.0, 0.0),
            (100, 0.0, 0.0),
            (125, 0.0, 0.25),
            (200, 0.5, 1.0),
            (999, 1.0, 1.0),
        ]
    }
    assert draws.ranges(config(), 0, CPU).tolist() == [1.0] * 6


def test_codes_are_settled_once_later_ones_begin_to_open():
    cfg = config(opening={1: LATER, 3: {100: 0.0, 300: 0.0, 400: 1.0}})
    settled = {step: draws.settled_codes(cfg, step) for step in (0, 100, 101, 300, 301, 999)}
    assert settled == {
        0: [],
        100: [],
        101: [0, 2],
        300: [0, 2],
        301: [0, 1, 2],
        999: [0, 1, 2],
    }
    assert draws.settled_codes(config(), 999) == []
    # One that is a little open from the first step on is no later one.
    assert draws.settled_codes(config(opening={1: {0: 0.5, 300: 1.0}}), 200) == []


def test_a_settled_circular_code_is_seen_in_two_columns():
    cfg = config(circular=[3, 1], opening={2: LATER})
    columns = draws.seen_columns(cfg, draws.settled_codes(cfg, 200))
    codes = torch.rand(50, 4)
    moved = codes.clone()
    moved[:, 2] = 0.0
    differing = (draws.embed(cfg, codes) != draws.embed(cfg, moved)).any(dim=0)
    assert sorted(columns) == [column for column in range(6) if not differing[column]]


def test_only_open_codes_are_compared():
    cfg = config(opening={1: LATER, 3: {300: 0.0, 400: 1.0}})
    for step, codes in [(0, {0, 2}), (100, {0, 2}), (101, {0, 1, 2}), (400, {0, 1, 2, 3})]:
        _, _, changed = draws.draw_pairs(cfg, 500, CPU, rng(), step)
        assert set(changed.tolist()) == codes
        inputs = torch.zeros(500, 6)
        moved = draws.draw_neighbours(cfg, inputs, None, rng(), step)
        assert set(moved.nonzero()[:, 1].tolist()) == codes


def test_a_circular_code_is_seen_as_a_point_of_the_unit_circle():
    cfg = config(circular=[2, 0])
    codes = torch.tensor([[0.5, 0.1, -1.0, 0.2, 0.7, 0.8], [-0.5, 0.1, 1.0, 0.2, 0.7, 0.8]])
    seen = draws.embed(cfg, codes)
    # Codes (a cosine where the code is circular), sines of codes 2 and 0, noise.
    expected = [[0, 0.1, -1, 0.2, 0, 1, 0.7, 0.8], [0, 0.1, -1, 0.2, 0, -1, 0.7, 0.8]]
    assert torch.allclose(seen, torch.tensor(expected), atol=1e-6)
    assert draws.embed(config(), codes) is codes


def test_chords_are_those_of_the_circles_that_a_change_turns():
    cfg = config(circular=[0, 2])
    before = torch.tensor([[0.25, 0.1, -0.9, 0.3, 0.5, 0.5]] * 3)
    after = before.clone()
    after[0, 0] = -0.75  # half a turn
    after[1, 2] = 0.6  # a quarter, across the seam
    after[2, 1] = 0.9  # no circle
    found = draws.chords(cfg, draws.embed(cfg, before), draws.embed(cfg, after))
    expected = torch.tensor([[2.0, 0.0], [0.0, 2.0**0.5], [0.0, 0.0]])
    assert torch.allclose(found, expected, atol=1e-6)
    assert (found == 0).tolist() == (expected == 0).tolist()


def test_codes_are_read_back_from_what_networks_see_at_any_length():
    cfg = config(circular=[1, 3], noise_dim=0)
    codes, _, _ = draws.draw_pairs(cfg, 200, CPU, rng(), 0)
    seen = draws.embed(cfg, codes)
    assert torch.allclose(draws.unembed(cfg, seen), codes, atol=1e-5)
    open_ = torch.ones(6)
    assert torch.allclose(draws.within_range(cfg, seen, open_), seen, atol=1e-5)
    longer = seen.clone()
    longer[:, [1, 3, 4, 5]] *= 1.7
    assert torch.allclose(draws.unembed(cfg, longer), codes, atol=1e-5)
    assert torch.allclose(draws.within_range(cfg, longer, open_), seen, atol=1e-5)


def test_what_is_out_of_range_is_brought_back_and_a_centre_gives_finite_gradients():
    cfg = config(latent_dim=2, circular=[1], noise_dim=0)
    seen = torch.tensor([[3.0, 0.0, 0.0], [-2.0, 0.0, -4.0]], requires_grad=True)
    within = draws.within_range(cfg, seen, torch.ones(3))
    assert within.tolist() == [[1.0, 0.0, 0.0], [-1.0, 0.0, -1.0]]
    within.sum().backward()
    assert seen.grad.abs().max() <= 10.0
    interval = config(latent_dim=2)
    out = draws.within_range(interval, torch.tensor([[3.0, -0.5]]), torch.tensor([1.0, 0.25, 1.0]))
    assert out.tolist() == [[1.0, -0.25]]


def test_what_e_is_taught_while_a_code_opens_is_what_g_gets_in_a_reconstruction():
    cfg = config(circular=[0, 3], opening={2: LATER, 3: LATER}, noise_dim=0)
    codes, _, _ = draws.draw_pairs(cfg, 100, CPU, rng(), 125)
    reach = draws.ranges(cfg, 125, CPU)
    taught = draws.embed(cfg, codes) * reach
    assert torch.allclose(draws.within_range(cfg, taught, reach), taught, atol=1e-5)


def test_a_polar_pair_is_an_evenly_drawn_point_of_the_unit_disc():
    cfg = config(polar={3: 1})
    seen = draws.embed(cfg, torch.tensor([[0.3, 1.0, 0.2, 0.5, 0.7, 0.8], [0, -0.5, 0, 1, 0, 0]]))
    # Radius 1 at a quarter turn, radius 1/2 at half a turn: x where the angle was, y the radius.
    expected = [[0.3, 1.0, 0.2, 0.0, 0.7, 0.8], [0.0, 0.0, 0.0, -0.5, 0.0, 0.0]]
    assert torch.allclose(seen, torch.tensor(expected), atol=1e-6)
    codes, _, _ = draws.draw_pairs(cfg, 20_000, CPU, rng(), 0)
    x, y = draws.embed(cfg, codes)[:, [3, 1]].unbind(1)
    within = x.square() + y.square()
    # Even over the disc: as much of it in a part as is the part's share of the area.
    for radius in (0.3, 0.6, 0.9):
        assert (within < radius**2).float().mean() == pytest.approx(radius**2, abs=0.015)
    assert (x > 0.5).float().mean() == pytest.approx(0.1955, abs=0.015)  # 1/3 - sqrt(3) / 4 pi
    assert (y > 0.5).float().mean() == pytest.approx(0.1955, abs=0.015)


def test_a_polar_pair_is_read_back_and_brought_back_into_its_disc():
    cfg = config(polar={0: 2}, circular=[1], noise_dim=0)
    codes, _, _ = draws.draw_pairs(cfg, 200, CPU, rng(), 0)
    seen = draws.embed(cfg, codes)
    assert seen.shape == (200, 5)
    assert torch.allclose(draws.unembed(cfg, seen), codes, atol=1e-4)
    assert torch.allclose(draws.within_range(cfg, seen, torch.ones(5)), seen, atol=1e-5)

    far = torch.tensor([[3.0, 1.0, 4.0, 0.1, 0.0], [0.0, 1.0, 0.0, 0.1, 0.0]], requires_grad=True)
    assert draws.unembed(cfg, far)[:, 2].tolist() == [1.0, -1.0]  # radius 1, and 0
    within = draws.within_range(cfg, far, torch.tensor([0.5, 1.0, 0.5, 1.0, 1.0]))
    assert within[0].tolist() == pytest.approx([0.3, 1.0, 0.4, 0.1, 0.0])
    assert within[1].tolist() == pytest.approx([0.0, 1.0, 0.0, 0.1, 0.0])
    within.sum().backward()
    assert far.grad.isfinite().all()
    assert far.grad.abs().max() <= 10.0


def test_what_is_taught_while_a_disc_opens_is_within_its_reach():
    cfg = config(polar={1: 3}, opening={1: LATER, 3: LATER}, noise_dim=0)
    codes, _, _ = draws.draw_pairs(cfg, 100, CPU, rng(), 105)
    reach = draws.ranges(cfg, 105, CPU)
    assert reach.tolist() == pytest.approx([1.0, 0.05, 1.0, 0.05])
    taught = draws.embed(cfg, codes) * reach
    assert torch.allclose(draws.within_range(cfg, taught, reach), taught, atol=1e-6)


def test_the_angle_of_a_polar_pair_goes_round_and_its_radius_does_not():
    cfg = config(polar={1: 2}, step_min=0.2, step_max=0.4)
    inputs = torch.full((4000, 6), 0.95)
    change = draws.draw_neighbours(cfg, inputs, None, rng(), 0) - inputs.repeat(2, 1)
    angle, radius = change[change[:, 1] != 0, 1], change[change[:, 2] != 0, 2]
    assert (angle < -1).float().mean() == pytest.approx(0.5, abs=0.05)  # upwards, and around
    assert (radius < 0).all()
    # A small step may lead beyond the ends of a radius: less than 0 is none.
    assert draws.embed(cfg, torch.tensor([[0, 0.3, -1.1, 0, 0, 0]]))[0, 1:3].tolist() == [0, 0]


def test_a_circular_code_steps_across_its_seam_as_anywhere_else():
    cfg = config(circular=[1], step_min=0.2, step_max=0.4)
    inputs = torch.full((4000, 6), 0.95)
    moved = draws.draw_neighbours(cfg, inputs, None, rng(), 0)
    change = moved - inputs.repeat(2, 1)
    circular, interval = change[change[:, 1] != 0, 1], change[change[:, 2] != 0, 2]
    assert moved.abs().max() <= 1
    assert (circular < -1).float().mean() == pytest.approx(0.5, abs=0.05)  # upwards, and around
    around = (circular + 1) % 2 - 1
    assert around.abs().min() >= 0.2 - 1e-5
    assert around.abs().max() <= 0.4 + 1e-5
    assert (interval < 0).all()


def test_a_small_step_of_a_code_of_categories_is_a_whole_one():
    cfg = config(categories={1: 3})
    inputs = torch.zeros(1000, 6)
    moved = draws.draw_neighbours(cfg, inputs, 0.1, rng(), 0)
    assert set(moved[:, 1].unique().tolist()) == {-1.0, 0.0, 1.0}
    assert moved[:, 0].unique().tolist() == pytest.approx([-0.1, 0.0, 0.1])


def test_a_circular_code_that_opens_later_grows_from_the_centre():
    cfg = config(circular=[0, 3], opening={2: LATER, 3: LATER})
    assert draws.ranges(cfg, 125, CPU).tolist() == [1, 1, 0.25, 0.25, 1, 0.25, 1, 1]
    assert draws.ranges(cfg, 300, CPU).tolist() == [1] * 8


def test_steps_are_even_between_their_bounds():
    cfg = config(step_min=0.2, step_max=0.6)
    codes, moved, _ = draws.draw_pairs(cfg, 5000, CPU, rng(), 0)
    length = (moved - codes).abs().amax(dim=1)
    for share in (0.25, 0.5, 0.75):
        below = (length < 0.2 + 0.4 * share).float().mean().item()
        assert below == pytest.approx(share, abs=0.03)


def test_small_steps_turn_angles_and_change_categories_to_their_other_values():
    cfg = config(circular=[0], categories={1: 3, 2: 2})
    inputs = torch.tensor([[0.2, 0.0, -1.0, 0.3, 0.0, 0.0]]).repeat(1000, 1)
    moved = draws.draw_neighbours(cfg, inputs, 0.1, rng(), 0)
    assert moved[:, 0].unique().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert moved[:, 1].unique().tolist() == [-1, 0, 1]
    assert moved[:, 2].unique().tolist() == [-1, 1]
