"""A run of random weights and a dataset of random images, for tests of what reads runs."""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from didcli import config
from didcli.data import dsprites
from didcli.data._stored import StoredImages
from didcli.engine import checkpoint, runs

FACTOR_SIZES = (3, 2, 4, 5, 5)
LATENT_DIM = 6
SOURCE = "random"
IMAGE_SHAPE = (1, 64, 64)
SMALL_DID = {"name": "did", "width": 4}


def make_dataset(factor_sizes: tuple[int, ...] = FACTOR_SIZES) -> StoredImages:
    """An image of 64 x 64 random black and white pixels for each combination, by default 600."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 256, size=(prod(factor_sizes), 512), dtype=np.uint8)
    return dsprites.from_bits(bits, SOURCE, factor_sizes)


def make_run(folder: Path, method: Mapping[str, Any] = SMALL_DID, seed: int = 0) -> Path:
    """A run folder with an untrained method, by default a DiD of width 4 with six dimensions."""
    train = {"seed": seed}
    settings = config.build([{"method": method, "data": {"name": "dsprites"}, "train": train}])
    folder.mkdir(parents=True)
    checkpoint.save(
        folder / checkpoint.FILE_NAME,
        runs.build_method(settings, IMAGE_SHAPE),
        step=7,
        config=settings.to_dict(),
        source=SOURCE,
        image_shape=IMAGE_SHAPE,
        versions={},
    )
    return folder
