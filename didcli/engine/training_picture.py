"""The picture that training refreshes: what the model can do by now."""

import numpy as np
import torch
from PIL import Image

from didcli.engine import runs
from didcli.engine.traverse import Pixels, images_of, random_rows, traversed_codes
from didcli.interfaces import Dataset, Method
from didcli.io import pictures

STEPS = 9
"""Real images, and values of each dimension."""
SEED = 0
"""Fixes which images."""


@torch.no_grad()
def draw(method: Method, dataset: Dataset, device: torch.device) -> Image.Image:
    """Real images, the same rebuilt from their codes, and then each dimension over its range
    from the codes of the first of them.

    The images are the same at every call, so that the pictures of a training can be compared.
    """
    rows = random_rows(STEPS, len(dataset), SEED)
    reals = dataset.images(np.array(rows, dtype=np.int64))
    codes = method.encode(runs.to_unit_range(reals, device))
    values = np.linspace(*method.code_range, STEPS, dtype=np.float32)
    anchor = codes[:1].float().cpu().numpy()
    moved = traversed_codes(anchor, range(method.latent_dim), values)[:, 0]
    moving = torch.from_numpy(moved.reshape(-1, method.latent_dim)).to(device)
    images = _to_pixels(method.decode(torch.cat((codes.float(), moving))))
    rebuilt, traversed = images[: len(codes)], images[len(codes) :]
    traversed = traversed.reshape(method.latent_dim, 1, STEPS, *images.shape[1:])
    headings = tuple(f"{value:.3g}" for value in values)
    table = pictures.sheet(
        [
            pictures.Block("real", reals[np.newaxis]),
            pictures.Block("rebuilt", rebuilt[np.newaxis]),
            *(
                pictures.Block(f"dim {dim}", rows, headings if dim == 0 else ())
                for dim, rows in enumerate(traversed)
            ),
        ]
    )
    return pictures.captioned(table, images_of(dataset.name, dataset.source))


def _to_pixels(images: torch.Tensor) -> Pixels:
    """[0, 1] -> uint8, 0..255. A model that diverged decodes NaN: shown black, as nothing is."""
    pixels: Pixels = (
        images.nan_to_num(0.0).clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8).cpu().numpy()
    )
    return pixels
