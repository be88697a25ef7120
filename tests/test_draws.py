"""What G is given in a step of DiD: how it is laid out, in one process and in several."""

import pytest
import torch

from didcli.nn import parallel
from didcli.nn.codes import CodeConfig
from didcli.nn.draws import Draw, Sizes, draw

CONFIG = CodeConfig(latent_dim=4, noise_dim=2)
CPU = torch.device("cpu")
SMALL = 0.1


def drawn(sizes: Sizes, small_step: float | None) -> Draw:
    return draw(CONFIG, sizes, small_step, CPU, torch.Generator().manual_seed(3), step=0)


def changes(before: torch.Tensor, after: torch.Tensor) -> list[int]:
    """The one input that differs in each row."""
    differs = before != after
    assert (differs.sum(dim=1) == 1).all()
    return differs.long().argmax(dim=1).tolist()


@pytest.mark.parametrize(
    ("small_step", "rows", "neighbours"),
    [(None, 12 + 6, slice(6, 12)), (SMALL, 12 + 6 + 6, slice(18, 24))],
    ids=["absolute", "signed"],
)
def test_neighbours_are_the_last_fakes_unless_they_are_close(small_step, rows, neighbours):
    sizes = Sizes(fakes=12, pairs=6, anchors=3, reconstructed=0)
    draw = drawn(sizes, small_step)
    assert len(draw.inputs) == rows
    assert draw.neighbours == neighbours
    assert torch.equal(draw.codes, draw.inputs[:12, :4])
    first, second = draw.inputs[neighbours].chunk(2)
    one, other = changes(draw.inputs[:3], first), changes(draw.inputs[:3], second)
    assert all(a != b and a < 4 and b < 4 for a, b in zip(one, other, strict=True))
    assert changes(draw.inputs[:6], draw.inputs[12:18]) == draw.changed.tolist()
    if small_step:
        moved = (first - draw.inputs[:3]).abs().max(dim=1).values
        assert moved.tolist() == pytest.approx([SMALL] * 3)


@pytest.mark.parametrize("small_step", [None, SMALL], ids=["absolute", "signed"])
def test_processes_share_what_one_would_draw(small_step, monkeypatch):
    whole = drawn(Sizes(fakes=24, pairs=12, anchors=6, reconstructed=0), small_step)
    share = Sizes(fakes=12, pairs=6, anchors=3, reconstructed=0)
    monkeypatch.setattr(parallel, "processes", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(parallel, "rank", lambda rank=rank: rank)
        own = drawn(share, small_step)
        assert torch.equal(own.inputs, whole.inputs[rank::2])
        assert torch.equal(own.codes, whole.codes[rank::2])
        assert torch.equal(own.inputs[own.neighbours], whole.inputs[whole.neighbours][rank::2])
        assert torch.equal(own.changed, whole.changed)  # H sees the pairs of all


@pytest.mark.parametrize("small_step", [None, SMALL], ids=["absolute", "signed"])
def test_codes_that_open_are_drawn_changed_and_taught_as_far_as_they_reach(small_step):
    later = {10: 0.0, 20: 1.0}
    config = CodeConfig(latent_dim=4, noise_dim=2, circular=[3], opening={2: later, 3: later})
    sizes = Sizes(fakes=3000, pairs=1000, anchors=1000, reconstructed=0)
    found = draw(config, sizes, small_step, CPU, torch.Generator().manual_seed(3), step=15)
    assert found.reach.tolist() == [1, 1, 0.5, 0.5, 0.5, 1, 1]
    assert torch.equal(found.codes, found.inputs[:3000, :5])
    assert found.codes[:, 2].abs().max().item() == pytest.approx(0.5, abs=0.01)
    assert torch.allclose(found.codes[:, 3:].norm(dim=1), torch.tensor(0.5))
    assert set(found.changed.tolist()) == {0, 1, 2, 3}
    moved = found.inputs[found.neighbours] != found.inputs[:1000].repeat(2, 1)
    assert moved.any(dim=0).tolist() == [True] * 5 + [False] * 2
