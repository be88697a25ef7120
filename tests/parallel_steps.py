"""A process of a test: training steps alone, then the same by all processes, and how they differ.

Started as torchrun starts them, with RANK and so on in the environment. The first prints, as JSON,
{method: the largest difference of a loss or weight}. In float64, where rounding cannot hide a
wrong term, nor grow, by way of Adam's division, into what looks like one.
"""

import json
import sys
from collections.abc import Iterator

import torch
from one_step import SHAPE, build

from didcli import registry
from didcli.engine import processes
from didcli.nn import parallel

CASES = [
    ("annealed_vae", {"annealing_steps": 2}),
    ("beta_tcvae", {}),
    ("beta_tcvae", {"estimator": "mss", "dataset_size": 100}),
    ("beta_vae", {}),
    ("did", {"pairs": 4, "lambda_h": {0: 0.0, 1: 1.0}}),
    ("did", {"lambda_o": 1.0, "anchors": 4}),
    ("did", {"lambda_o": 1.0, "anchors": 4, "overlap": "signed"}),
    ("did", {"lambda_i": 1.0, "anchors": 2, "circular": [0, 2]}),
    (
        "did",
        {
            "lambda_r": 1.0,
            "reconstructed": 4,
            "circular": [1],
            "opening": {1: {0: 0.0, 4: 1.0}},
            "lambda_k": 1.0,
        },
    ),
    ("did", {"lambda_r": 1.0, "reconstructed": 4, "polar": {2: 0}}),
    ("did", {"pairs": 0, "contrast": "pairwise", "difference": "features", "categories": {0: 3}}),
    ("did", {"adversary": "nonsaturating", "perturbation": "redraw", "penalty_every": 1}),
    ("dip_vae", {}),
    ("dip_vae", {"variant": "ii"}),
    ("factor_vae", {"discriminator_width": 16}),
    ("infogan", {"networks": "classic"}),
    ("infogan_cr", {"networks": "classic", "cr_from": 1}),
    ("vae", {}),
]


def values(name: str, changes: dict) -> Iterator[torch.Tensor]:
    """Logged losses of three steps on a batch of eight, and what the method then holds."""
    method = build(registry.load("methods", name), **changes).double()
    method.to(memory_format=torch.channels_last)
    for step in range(3):
        rng = torch.Generator().manual_seed(step)
        images = torch.rand(8, *SHAPE, generator=rng)
        yield from map(parallel.mean, method.train_step(parallel.share(images), rng, step).values())
    yield from method.state_dict().values()


def main() -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # networks and losses ask for float32 by this
    alone = [list(values(*case)) for case in CASES]
    with processes.joined():
        assert parallel.processes() == 2
        together = [list(values(*case)) for case in CASES]
    differences = {
        f"{name} {changes}": max(float((a - b).abs().max()) for a, b in zip(*pair, strict=True))
        for (name, changes), *pair in zip(CASES, alone, together, strict=True)
    }
    if sys.argv[1:] == ["0"]:
        sys.stdout.write(json.dumps(differences))


if __name__ == "__main__":
    main()
