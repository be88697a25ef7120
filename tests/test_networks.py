from typing import get_args

import pytest
import torch
from torch.nn import functional as F

from didcli.nn import networks
from didcli.nn.decoders import (
    Blur,
    BroadcastDecoder,
    LeakyClamp,
    PyramidDecoder,
    image_decoder,
)

FAMILIES = get_args(networks.Family)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [32, 64, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_decoder_and_encoder_fit_each_other(family, size, channels):
    shape = (channels, size, size)
    decoder = image_decoder(shape, 5, width=4, family=family)
    encoder = networks.ImageEncoder(shape, 7, width=4, family=family)
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
    decoder = image_decoder((1, 64, 64), 10, family="classic")
    assert sum(p.numel() for p in decoder.parameters()) == expected


def test_the_classic_stack_has_the_published_nonlinearities():
    torch.manual_seed(0)
    encoder = networks.ImageEncoder((1, 64, 64), 3, family="classic")
    decoder = image_decoder((1, 64, 64), 3, family="classic")
    for module in (encoder, decoder):
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.1)  # both signs, everywhere
    images, codes = torch.rand(2, 1, 64, 64), torch.randn(2, 3)
    *convolutions, hidden, last = weighted(encoder)
    x = images
    for layer in convolutions:
        x = F.relu(F.conv2d(x, layer.weight, layer.bias, stride=2, padding=1))
    x = F.relu(F.linear(x.flatten(1), hidden.weight, hidden.bias))
    assert torch.allclose(encoder(images), F.linear(x, last.weight, last.bias), rtol=1e-3)
    first, second, *transposed = weighted(decoder)
    x = F.relu(F.linear(codes, first.weight, first.bias))
    x = F.relu(F.linear(x, second.weight, second.bias)).view(2, 64, 4, 4)
    for layer in transposed:
        x = x if layer is transposed[0] else F.relu(x)
        x = F.conv_transpose2d(x, layer.weight, layer.bias, stride=2, padding=1)
    assert torch.allclose(decoder(codes), x, rtol=1e-3, atol=1e-3)


def weighted(module: torch.nn.Module) -> list[torch.nn.Module]:
    """Layers with weights, in the order of the work."""
    kinds = torch.nn.Conv2d | torch.nn.ConvTranspose2d | torch.nn.Linear
    return [layer for layer in module.modules() if isinstance(layer, kinds)]


def test_fully_connected_layers_have_leaky_relus_of_a_fifth_between_them():
    torch.manual_seed(0)
    network, codes = networks.mlp((3, 8, 8, 2)), torch.randn(5, 3)
    first, second, last = weighted(network)
    x = codes
    for layer in (first, second):
        x = F.leaky_relu(F.linear(x, layer.weight, layer.bias), 0.2)
    assert torch.allclose(network(codes), F.linear(x, last.weight, last.bias), atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_depend_on_their_own_image_alone(family):
    torch.manual_seed(0)
    encoder = networks.ImageEncoder((1, 64, 64), 3, width=4, family=family)
    images = torch.rand(4, 1, 64, 64)
    assert torch.allclose(encoder(images)[:1], encoder(images[:1]), atol=1e-5)


def test_outputs_are_float32_under_autocast():
    encoder = networks.ImageEncoder((1, 64, 64), 3, width=4)
    decoder = image_decoder((1, 64, 64), 3, width=4)
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


def tiled(codes: torch.Tensor, side: int) -> torch.Tensor:
    """Codes and positions in every cell: (B, n) -> (B, n + 2, side, side)."""
    line = torch.linspace(-1, 1, side)
    cells = torch.zeros(len(codes), codes.shape[1] + 2, side, side)
    for row in range(side):
        for column in range(side):
            cells[:, :-2, row, column] = codes
            cells[:, -2, row, column], cells[:, -1, row, column] = line[column], line[row]
    return cells


def test_the_broadcast_decoder_is_a_convolution_over_tiled_codes_and_positions():
    """Its first layer, taken apart for speed, against the tiled form of the paper."""
    torch.manual_seed(0)
    decoder = BroadcastDecoder((1, 32, 32), 3, width=2)
    codes = torch.randn(2, 3)
    weight = torch.cat((decoder.of_codes.weight, decoder.of_positions.weight[:, :, 0, 0]), dim=1)
    first = torch.einsum("oi,bihw->bohw", weight, tiled(codes, 16))
    first += decoder.of_codes.bias[:, None, None]
    assert torch.allclose(decoder.tail(first), decoder(codes), atol=1e-6)


@pytest.mark.parametrize(("channels", "features"), [(1, 8), (3, 16)])
def test_the_pyramid_decoder_is_convolutions_over_tiled_codes_and_positions(channels, features):
    """Its layers by cell, matrix products for speed, against convolutions of 1x1."""
    torch.manual_seed(0)
    decoder = PyramidDecoder((channels, 32, 32), 3, width=2)
    codes = torch.randn(2, 3)
    weight = torch.cat((decoder.of_codes.weight, decoder.of_positions.weight), dim=1)
    cells = F.conv2d(tiled(codes, 8), weight[:, :, None, None], decoder.of_codes.bias)
    assert cells.shape == (2, features, 8, 8)
    for layer in (decoder.cells[1][0], decoder.cells[1][2]):
        cells = F.conv2d(F.leaky_relu(cells, 0.2), layer.weight[:, :, None, None], layer.bias)
    cells = F.leaky_relu(cells, 0.2)
    fine = torch.zeros(2, 2, 16, 16)
    for row in (0, 1):
        for column in (0, 1):
            first = 2 * (2 * row + column)
            fine[:, :, row::2, column::2] = cells[:, first : first + 2]
    assert torch.allclose(decoder.tail(fine), decoder(codes), atol=1e-6)


def test_blur_spreads_a_pixel_and_keeps_even_images():
    image = torch.zeros(1, 2, 5, 5)
    image[0, 1, 2, 2] = 16.0
    blurred = Blur(2)(image)
    assert blurred[0, 0].abs().max() == 0
    assert blurred[0, 1, 1:4, 1:4].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    assert torch.equal(Blur(2)(torch.ones(1, 2, 5, 5)), torch.ones(1, 2, 5, 5))


def test_a_leaky_clamp_keeps_what_is_within_and_a_part_of_what_is_beyond():
    pixels = torch.tensor([-2.0, 0.25, 3.0], requires_grad=True)
    clamped = LeakyClamp(0.1)(pixels)
    assert clamped.tolist() == pytest.approx([-0.2, 0.25, 1.2])
    clamped.sum().backward()
    assert pixels.grad.tolist() == pytest.approx([0.1, 1.0, 0.1])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_output_of_every_decoder_can_be_clamped(family):
    torch.manual_seed(0)
    linear = image_decoder((1, 32, 32), 3, width=4, family=family)
    clamped = image_decoder((1, 32, 32), 3, width=4, family=family, leak=0.1)
    clamped.load_state_dict(linear.state_dict())
    codes = 20.0 * torch.randn(4, 3)
    images = linear(codes)
    assert images.min() < 0.0
    assert torch.allclose(clamped(codes), LeakyClamp(0.1)(images))


@pytest.mark.parametrize("kind", [BroadcastDecoder, PyramidDecoder])
def test_a_smooth_decoder_starts_without_a_grid_of_blocks(kind):
    decoder = kind((3, 64, 64), 4, width=4, smooth=True)
    *unfolding, blur = decoder.tail
    assert isinstance(blur, Blur)
    decoder.tail = torch.nn.Sequential(*unfolding)
    blocks = decoder(torch.randn(2, 4)).unfold(2, 4, 4).unfold(3, 4, 4).flatten(4)
    assert blocks.std(dim=-1).max() < 1e-6
    assert blocks.mean(dim=-1).std() > 1e-3  # and yet there is an image
