import pytest
import torch

from didcli.nn import networks


@pytest.mark.parametrize("family", ["stem", "classic"])
@pytest.mark.parametrize("size", [32, 64, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_decoder_and_encoder_fit_each_other(family, size, channels):
    shape = (channels, size, size)
    decoder = networks.ImageDecoder(shape, 5, width=4, hidden=8, family=family)
    encoder = networks.ImageEncoder(shape, 7, width=4, hidden=8, family=family)
    images = decoder(torch.zeros(2, 5))
    assert images.shape == (2, *shape)
    assert encoder(images).shape == (2, 7)


def test_the_classic_stack_has_the_published_number_of_weights():
    # Counted by hand from the table of disentanglement_lib, for one channel and 64 x 64.
    convolutions = [(1, 32), (32, 32), (32, 64), (64, 64)]
    expected = sum(16 * a * b + b for a, b in convolutions) + (1024 + 1) * 256 + (256 + 1) * 20
    encoder = networks.ImageEncoder((1, 64, 64), 20, family="classic")
    assert sum(p.numel() for p in encoder.parameters()) == expected
    expected = (10 + 1) * 256 + (256 + 1) * 1024
    expected += sum(16 * a * b + b for a, b in [(64, 64), (64, 32), (32, 32), (32, 1)])
    decoder = networks.ImageDecoder((1, 64, 64), 10, family="classic")
    assert sum(p.numel() for p in decoder.parameters()) == expected


@pytest.mark.parametrize("family", ["stem", "classic"])
def test_outputs_depend_on_their_own_image_alone(family):
    torch.manual_seed(0)
    encoder = networks.ImageEncoder((1, 64, 64), 3, width=4, family=family)
    images = torch.rand(4, 1, 64, 64)
    assert torch.allclose(encoder(images)[:1], encoder(images[:1]), atol=1e-5)


def test_outputs_are_float32_under_autocast():
    encoder = networks.ImageEncoder((1, 64, 64), 3, width=4)
    decoder = networks.ImageDecoder((1, 64, 64), 3, width=4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        images = decoder(torch.zeros(2, 3))
        assert images.dtype == torch.float32
        assert encoder(images).dtype == torch.float32


def test_unit_length_of_zero_is_zero_with_a_finite_gradient():
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    unit = networks.unit_length(vectors)
    unit.sum().backward()
    assert unit.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0.0, 0.0]]
    assert torch.isfinite(vectors.grad).all()
