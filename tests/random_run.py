"""A run of random weights and a dataset of random images, for tests of what reads runs."""

from math import prod
from pathlib import Path

import numpy as np

from didcli import config
from didcli.data.dsprites import DSprites
from didcli.engine import checkpoint, runs

FACTOR_SIZES = (3, 2, 4, 5, 5)
LATENT_DIM = 6
SOURCE = "random"


def make_dataset() -> DSprites:
    """600 images of 64 x 64 random black and white pixels."""
    bits = np.random.default_rng(0).integers(0, 256, size=(prod(FACTOR_SIZES), 512), dtype=np.uint8)
    return DSprites(bits, SOURCE, FACTOR_SIZES)


def make_run(folder: Path) -> Path:
    """A run folder with an untrained DiD of width 4 that has six dimensions."""
    settings = config.build(
        [{"method": {"name": "did", "width": 4}, "data": {"name": "dsprites"}, "train": {}}]
    )
    folder.mkdir(parents=True)
    checkpoint.save(
        folder / checkpoint.FILE_NAME,
        runs.build_method(settings, DSprites.image_shape),
        step=7,
        config=settings.to_dict(),
        source=SOURCE,
        image_shape=DSprites.image_shape,
        versions={},
    )
    return folder
