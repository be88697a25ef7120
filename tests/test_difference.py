import pytest
import torch

from didcli.nn.difference import DifferenceEncoder, naming_accuracy

SHAPE = (1, 32, 32)


def encoder(**settings) -> DifferenceEncoder:
    torch.manual_seed(0)
    return DifferenceEncoder(SHAPE, 8, width=4, **settings)


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    return torch.rand(6, *SHAPE, generator=rng), torch.rand(6, *SHAPE, generator=rng)


@pytest.mark.parametrize("difference", ["pixels", "features", "concat"])
@pytest.mark.parametrize("pool", [0, 1, 2])
def test_embeddings_have_unit_length(pair, difference, pool):
    v = encoder(difference=difference, pool=pool)(*pair)
    assert v.shape == (6, 8)
    assert v.norm(dim=1).tolist() == pytest.approx([1.0] * 6, abs=1e-5)


@pytest.mark.parametrize("difference", ["pixels", "features"])
def test_an_unchanged_pair_is_zero_with_a_finite_gradient(pair, difference):
    images = pair[0].requires_grad_()
    h = encoder(difference=difference)
    v = h(images, images.detach())
    v.square().sum().backward()
    assert v.abs().max().item() == 0.0
    assert torch.isfinite(images.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in h.parameters())


def test_of_pixels_only_the_difference_counts_and_not_its_size(pair):
    h = encoder(difference="pixels")
    before, after = pair
    shifted = h(before + 0.3, after + 0.3)
    halved = h(before, before + 0.5 * (after - before))
    assert torch.allclose(shifted, h(before, after), atol=1e-5)
    assert torch.allclose(halved, h(before, after), atol=1e-5)


def test_pooled_to_one_cell_it_cannot_tell_where(pair):
    before = torch.zeros(1, *SHAPE)
    here, there = before.clone(), before.clone()
    here[..., 8:12, 8:12] = 1.0
    there[..., 16:20, 8:12] = 1.0  # moved by a multiple of the stride of the whole trunk
    pooled, whole = encoder(pool=1), encoder(pool=0)
    assert torch.allclose(pooled(before, here), pooled(before, there), atol=1e-5)
    assert not torch.allclose(whole(before, here), whole(before, there), atol=1e-2)


def test_concatenation_sees_more_than_the_difference(pair):
    h = encoder(difference="concat")
    before, after = pair
    assert not torch.allclose(h(before + 0.3, after + 0.3), h(before, after), atol=1e-3)


def test_naming_accuracy_of_separate_and_of_mixed_embeddings():
    labels = torch.tensor([0, 0, 1, 1])
    assert naming_accuracy(torch.eye(2)[labels], labels).item() == 1.0
    assert naming_accuracy(torch.eye(2)[[0, 1, 0, 1]], labels).item() == 0.0
