"""Each loss term against a formula written again: loops in float64, finite differences."""

import math

import pytest
import torch
from torch import nn

from didcli.nn import losses


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def unit_rows(count: int, size: int, rng: torch.Generator) -> torch.Tensor:
    rows = torch.randn(count, size, generator=rng, dtype=torch.float64)
    return rows / rows.norm(dim=1, keepdim=True)


def small_critic() -> nn.Module:
    """Smooth, so that finite differences converge; (B, 1, 2, 3) -> (B,)."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1), nn.Flatten(0)
    ).double()


def gradient_by_differences(critic: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """Central differences of the critic's score, one pixel at a time."""
    gradient = torch.zeros_like(image)
    for index in range(image.numel()):
        step = torch.zeros(image.numel(), dtype=image.dtype)
        step[index] = 1e-6
        step = step.view_as(image)
        up, down = critic((image + step)[None]), critic((image - step)[None])
        gradient.view(-1)[index] = (up - down).item() / 2e-6
    return gradient


def test_wasserstein_losses_are_differences_of_means():
    real, fake = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 8.0])
    assert losses.wasserstein_critic(real, fake).item() == pytest.approx(6.0 - 1.5)
    assert losses.wasserstein_generator(fake).item() == pytest.approx(-6.0)


def test_nonsaturating_losses_are_cross_entropies_of_a_sigmoid():
    real, fake = [0.3, -1.2], [2.0, -0.5]
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    expected = -sum(math.log(sigmoid(x)) for x in real) / 2
    expected -= sum(math.log(1 - sigmoid(x)) for x in fake) / 2
    got = losses.nonsaturating_discriminator(torch.tensor(real), torch.tensor(fake))
    assert got.item() == pytest.approx(expected, rel=1e-6)
    expected = -sum(math.log(sigmoid(x)) for x in fake) / 2
    assert losses.nonsaturating_generator(torch.tensor(fake)).item() == pytest.approx(expected)


def test_gradient_penalty_agrees_with_finite_differences(rng):
    critic = small_critic()
    real = torch.rand(4, 1, 2, 3, generator=rng, dtype=torch.float64)
    fake = torch.rand(4, 1, 2, 3, generator=rng, dtype=torch.float64)
    mix = torch.rand(4, 1, 1, 1, generator=rng, dtype=torch.float64)

    expected = 0.0
    for image in mix * real + (1 - mix) * fake:
        expected += (gradient_by_differences(critic, image).norm().item() - 1.0) ** 2 / 4

    got = losses.gradient_penalty(critic, real, fake, mix)
    assert got.item() == pytest.approx(expected, rel=1e-6)


def test_gradient_penalty_trains_the_critic_and_not_the_generator(rng):
    critic = small_critic()
    fake = torch.rand(4, 1, 2, 3, generator=rng, dtype=torch.float64, requires_grad=True)
    real = torch.rand(4, 1, 2, 3, generator=rng, dtype=torch.float64)
    losses.gradient_penalty(critic, real, fake, torch.full((4, 1, 1, 1), 0.5)).backward()
    assert fake.grad is None
    assert critic[1].weight.grad.abs().sum() > 0


def test_gradient_penalty_is_zero_for_a_critic_of_slope_one(rng):
    real = torch.rand(4, 1, 2, 3, generator=rng)
    mix = torch.rand(4, 1, 1, 1, generator=rng)
    first_pixel = lambda images: images[:, 0, 0, 0]  # noqa: E731
    assert losses.gradient_penalty(first_pixel, real, -real, mix).item() == 0.0


def test_r1_agrees_with_finite_differences(rng):
    critic = small_critic()
    real = torch.rand(4, 1, 2, 3, generator=rng, dtype=torch.float64)
    squared = [gradient_by_differences(critic, image).square().sum().item() for image in real]
    got = losses.r1_penalty(critic, real)
    assert got.item() == pytest.approx(0.5 * sum(squared) / 4, rel=1e-6)


def info_nce_by_loops(v: torch.Tensor, labels: list[int], temperature: float) -> float:
    total, anchors = 0.0, 0
    for b in range(len(v)):
        positives = [p for p in range(len(v)) if p != b and labels[p] == labels[b]]
        if not positives:
            continue
        denominator = sum(
            math.exp(float(v[b] @ v[a]) / temperature) for a in range(len(v)) if a != b
        )
        log_shares = [
            math.log(math.exp(float(v[b] @ v[p]) / temperature) / denominator) for p in positives
        ]
        total -= sum(log_shares) / len(positives)
        anchors += 1
    return total / anchors


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_supervised_info_nce_agrees_with_a_loop(rng, temperature):
    v = unit_rows(12, 5, rng)
    labels = [0, 1, 2, 0, 1, 2, 0, 0, 3, 1, 4, 2]  # 3 and 4 stand alone: no anchors
    got = losses.supervised_info_nce(v, torch.tensor(labels), temperature)
    assert got.item() == pytest.approx(info_nce_by_loops(v, labels, temperature), rel=1e-9)


def test_supervised_info_nce_without_positives_is_zero_with_zero_gradient(rng):
    v = unit_rows(4, 5, rng).requires_grad_()
    loss = losses.supervised_info_nce(v, torch.arange(4), 0.1)
    loss.backward()
    assert loss.item() == 0.0
    assert v.grad.abs().max() == 0.0


def test_supervised_info_nce_is_least_when_labels_stand_apart():
    apart = torch.eye(3).repeat(2, 1)
    labels = torch.arange(3).repeat(2)
    together = torch.eye(3)[[0, 0, 0, 1, 1, 1]]
    assert losses.supervised_info_nce(apart, labels, 0.05) < 1e-6
    assert losses.supervised_info_nce(together, labels, 0.05) > 1.0


def pairwise_by_loops(v: torch.Tensor, labels: list[int]) -> tuple[float, float]:
    """Mean squared distance of pairs with equal labels, and of pairs with different ones."""
    same, different = [], []
    for a in range(len(v)):
        for b in range(len(v)):
            if a != b:
                distance = float((v[a] - v[b]).square().sum())
                (same if labels[a] == labels[b] else different).append(distance)
    return sum(same) / len(same), sum(different) / len(different)


def test_pairwise_contrast_agrees_with_a_loop(rng):
    v, labels = unit_rows(9, 4, rng), [0, 1, 2, 0, 1, 2, 0, 1, 1]
    same, different = pairwise_by_loops(v, labels)
    got = losses.pairwise_contrast(v, torch.tensor(labels), attract=True)
    assert got.item() == pytest.approx(same - different, rel=1e-9)
    got = losses.pairwise_contrast(v, torch.tensor(labels), attract=False)
    assert got.item() == pytest.approx(-different, rel=1e-9)


def test_pairwise_contrast_with_one_label_has_nothing_to_push(rng):
    v = unit_rows(5, 4, rng)
    assert losses.pairwise_contrast(v, torch.zeros(5, dtype=torch.long), attract=False) == 0.0


def test_squared_cosine_agrees_with_a_loop(rng):
    a, b = (torch.randn(6, 2, 3, 3, generator=rng) for _ in range(2))
    expected = 0.0
    for x, y in zip(a.double().flatten(1), b.double().flatten(1), strict=True):
        expected += float((x @ y) ** 2 / ((x @ x) * (y @ y))) / 6
    assert losses.squared_cosine(a, b).item() == pytest.approx(expected, rel=1e-5)
    assert losses.squared_cosine(a, -3 * a).item() == pytest.approx(1.0)


def test_shared_pixels_agrees_with_a_loop(rng):
    a, b = (torch.randn(6, 2, 3, 3, generator=rng) for _ in range(2))
    expected = 0.0
    for x, y in zip(a.double(), b.double(), strict=True):
        places = [
            sum(abs(float(v)) for v in d[:, i, j])
            for d in (x, y)
            for i in range(3)
            for j in range(3)
        ]
        p, q = places[:9], places[9:]
        dot = sum(u * v for u, v in zip(p, q, strict=True))
        expected += dot / (sum(u * u for u in p) * sum(v * v for v in q)) ** 0.5 / 6
    assert shared_pixels(a, b).item() == pytest.approx(expected, rel=1e-5)
    # Two hues of the same pixels share them all, changes of different pixels none.
    assert shared_pixels(a, a.flip(1)).item() == pytest.approx(1.0)
    left, right = a.clone(), b.clone()
    left[..., 1:], right[..., :1] = 0, 0
    assert shared_pixels(left, right) == 0.0


def shared_pixels(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return losses.shared_pixels(losses.changed_places(first), losses.changed_places(second))


@pytest.mark.parametrize("measure", [losses.squared_cosine, shared_pixels])
def test_the_overlap_with_an_unchanged_image_is_zero_with_a_finite_gradient(rng, measure):
    a = torch.zeros(2, 1, 3, 3, requires_grad=True)
    loss = measure(a, torch.randn(2, 1, 3, 3, generator=rng))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.isfinite(a.grad).all()


def test_changed_places_sum_the_channels_absolute_differences():
    changes = torch.tensor([[[[1.0, -2.0]], [[0.5, 0.0]], [[-1.0, 3.0]]]])
    assert losses.changed_places(changes).tolist() == [[2.5, 5.0]]


def test_unevenness_is_the_spread_of_each_angle_s_changes():
    """Two changes of the first angle, three of the second, one of none; of two pixels each."""
    places = [[0.1, 0.0], [0.4, 0.2], [0.2, 0.2], [0.3, 0.1], [0.0, 0.5], [0.5, 0.5]]
    chords = [[1.0, 0], [0.5, 0], [0, 2.0], [0, 1.5], [0, 0.2], [0, 0]]
    expected = 0.0
    for angle, group in ((0, [0, 1]), (1, [2, 3, 4])):
        ratios = [[pixel / chords[row][angle] for pixel in places[row]] for row in group]
        centre = [sum(column) / len(group) for column in zip(*ratios, strict=True)]
        scale = sum(mean**2 for mean in centre) / 2 + 0.00025
        for ratio in ratios:
            apart = sum((a - b) ** 2 for a, b in zip(ratio, centre, strict=True)) / 2
            expected += apart / scale / 5
    found = losses.unevenness(torch.tensor(places), torch.tensor(chords))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_a_circle_is_even_and_the_way_there_and_back_is_not():
    """All turns of a code: of one whose pixel goes round, of one that comes back by the way it
    went, and of one for which two pixels do so at different times, so that the sum is even."""
    angles = torch.arange(12) * (2 * math.pi / 12)
    first, second = angles.repeat_interleave(12), angles.repeat(12)
    chords = (2 * torch.sin((second - first) / 2).abs())[:, None]
    chords[chords < 1e-3] = 0.0  # no change
    there_and_back = (second.cos() - first.cos()).abs()[:, None]
    later = (second.sin() - first.sin()).abs()[:, None]
    assert losses.unevenness(10 * chords, chords).item() < 1e-4
    assert losses.unevenness(10 * there_and_back, chords).item() > 0.2
    assert losses.unevenness(torch.cat((there_and_back, later), dim=1), chords).item() > 0.2


def test_what_no_angle_changes_is_even_with_a_finite_gradient():
    places = torch.zeros(3, 2, requires_grad=True)
    for chords in (torch.zeros(3, 2), torch.zeros(3, 0), torch.tensor([[0.0], [1.0], [2.0]])):
        loss = losses.unevenness(places, chords)
        assert loss.item() == 0.0
        if loss.requires_grad:
            loss.backward()
            assert torch.isfinite(places.grad).all()


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_scale_gradient_keeps_values_and_scales_what_comes_back(weight):
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    scaled = losses.scale_gradient(x, weight)
    assert scaled.tolist() == [1.0, -2.0]
    (3.0 * scaled.sum() + 0.0 * x.sum()).backward()
    assert x.grad.tolist() == [3.0 * weight] * 2
