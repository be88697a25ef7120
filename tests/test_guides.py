"""The plug-ins that the guides show do what the guides say."""

import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from code_tables import FEW, ignorant, perfect
from scipy.stats import spearmanr

EXAMPLES = Path(__file__).parent.parent / "examples"
GUIDES = ("add_a_dataset", "add_a_method", "add_a_metric")


def shown(guide: str, monkeypatch) -> ModuleType:
    """The plug-in in a guide, as a module."""
    text = (EXAMPLES / f"{guide}.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL).group(1)
    module = ModuleType(guide)
    monkeypatch.setitem(sys.modules, guide, module)  # dataclasses look there
    exec(compile(code, f"{guide}.md", "exec"), module.__dict__)
    return module


def test_the_method_keeps_the_contract_and_learns(monkeypatch):
    module = shown("add_a_method", monkeypatch)
    torch.manual_seed(0)
    method = module.build(module.Config(latent_dim=4), (1, 32, 32))
    generator = torch.Generator().manual_seed(0)
    images = (torch.rand(16, 1, 1, 1, generator=generator) * torch.ones(1, 1, 32, 32)).round()
    first = method.train_step(images, generator, 0)
    for step in range(1, 60):
        last = method.train_step(images, generator, step)
    assert last["error"] < 0.2 * first["error"]
    assert not any(value.requires_grad for value in last.values())
    codes = method.encode(images)
    assert codes.shape == (16, method.latent_dim)
    decoded = method.decode(codes)
    assert decoded.shape == images.shape
    assert 0 <= decoded.min() <= decoded.max() <= 1


def test_the_metric_keeps_the_contract_and_its_formula(monkeypatch):
    module = shown("add_a_metric", monkeypatch)

    def result(table):
        return module.score(table, np.random.RandomState(0), FEW)

    assert result(perfect()).scores == {"rank_correlation": pytest.approx(1)}
    table = ignorant()
    found = result(table)
    assert found.scores["rank_correlation"] < 0.3
    rows = np.random.RandomState(0).randint(len(table), size=FEW.train_points)
    expected = [
        [abs(spearmanr(code, factor)[0]) for factor in table.factors[rows].T]
        for code in table.codes[rows].T
    ]
    assert found.details["rho"] == pytest.approx(np.array(expected))
    assert set(found.scores) == set(module.SCORES)


@pytest.mark.parametrize("guide", GUIDES)
def test_links_of_the_guides_lead_somewhere(guide):
    text = (EXAMPLES / f"{guide}.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(((?!http)[^)]+)\)", text)
    assert links
    assert all((EXAMPLES / link).exists() for link in links)
