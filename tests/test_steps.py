import pytest
import torch
from torch import nn

from didcli.nn.steps import descend, evaluating


def test_descend_takes_one_step_of_each_optimiser_along_the_gradient():
    first, second = (nn.Parameter(torch.tensor(1.0)) for _ in range(2))
    first.grad = torch.tensor(100.0)  # left over from another loss
    optimisers = [torch.optim.SGD([parameter], lr=0.1) for parameter in (first, second)]
    descend(first**2 + 3.0 * second, optimisers)
    assert (first.item(), second.item()) == (pytest.approx(0.8), pytest.approx(0.7))


@pytest.mark.parametrize("training", [True, False])
def test_evaluating_moves_no_statistics_and_gives_the_mode_back(training):
    module = nn.Sequential(nn.BatchNorm1d(2)).train(training)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    values = torch.tensor([[1.0, 2.0], [3.0, 8.0]])
    with evaluating(module):
        assert torch.allclose(module(values), values, atol=1e-4)
    assert module.training == module[0].training == training
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_evaluating_gives_the_mode_back_after_an_error():
    module = nn.BatchNorm1d(2)
    with pytest.raises(RuntimeError), evaluating(module):
        module(torch.zeros(2, 5))
    assert module.training
