"""The contract of a method, for every one there is."""

import pytest
import torch

from didcli import registry
from didcli.engine import checkpoint as checkpoints

SHAPES = [(1, 32, 32), (3, 64, 64)]
METHODS = registry.names("methods")


def build(name: str, shape: tuple[int, int, int]) -> torch.nn.Module:
    module = registry.load("methods", name)
    torch.manual_seed(0)
    return module.build(module.Config(), shape)


def batch(shape: tuple[int, int, int]) -> torch.Tensor:
    return torch.rand(4, *shape, generator=torch.Generator().manual_seed(1))


def two_steps(method: torch.nn.Module, shape: tuple[int, int, int], first: int = 0) -> dict:
    for step in range(first, first + 2):
        logs = method.train_step(batch(shape), torch.Generator().manual_seed(step), step)
    return dict(logs)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", METHODS)
def test_it_trains_and_keeps_shapes(name, shape):
    method = build(name, shape)
    logs = two_steps(method, shape)
    assert logs
    assert all(value.ndim == 0 and torch.isfinite(value) for value in logs.values())
    assert not any(value.requires_grad for value in logs.values())
    codes = method.encode(batch(shape))
    assert codes.shape == (4, method.latent_dim)
    assert codes.dtype == torch.float32
    images = method.decode(codes)
    assert images.shape == (4, *shape)
    assert images.min() >= 0
    assert images.max() <= 1
    assert not images.requires_grad
    low, high = method.code_range
    assert low < high


@pytest.mark.parametrize("name", METHODS)
def test_a_step_is_a_function_of_its_arguments(name):
    first, second = (build(name, SHAPES[0]) for _ in range(2))
    torch.manual_seed(11)  # the global state must not matter
    two_steps(first, SHAPES[0])
    torch.manual_seed(12)
    two_steps(second, SHAPES[0])
    a, b = checkpoints.state(first), checkpoints.state(second)
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("name", METHODS)
def test_it_survives_a_checkpoint_byte_for_byte(name, tmp_path):
    described = {"step": 2, "config": {}, "source": "", "image_shape": SHAPES[0], "versions": {}}
    original = build(name, SHAPES[0])
    two_steps(original, SHAPES[0])
    checkpoints.save(tmp_path / "a", original, **described)
    restored = build(name, SHAPES[0])
    checkpoints.restore(restored, checkpoints.load(tmp_path / "a"))
    for method in (original, restored):
        two_steps(method, SHAPES[0], first=2)
    checkpoints.save(tmp_path / "a", original, **described)
    checkpoints.save(tmp_path / "b", restored, **described)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("name", METHODS)
def test_every_weight_has_one_optimiser_or_none(name):
    method = build(name, SHAPES[0])
    owned = [
        parameter
        for optimiser in method.optimisers.values()
        for group in optimiser.param_groups
        for parameter in group["params"]
    ]
    assert len(owned) == len({id(parameter) for parameter in owned})
    assert {id(p) for p in method.parameters() if p.requires_grad} == {id(p) for p in owned}


@pytest.mark.parametrize("name", METHODS)
def test_it_runs_on_the_meta_device(name):
    """Shapes and devices alone: a tensor made on the CPU by mistake would fail here."""
    method = build(name, SHAPES[0]).to("meta")
    images = torch.empty(4, *SHAPES[0], device="meta")
    assert method.encode(images).device.type == "meta"
    assert method.decode(torch.empty(2, method.latent_dim, device="meta")).device.type == "meta"
