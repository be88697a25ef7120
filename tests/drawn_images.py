"""Images of the sets that are drawn, by their numbers: what datasets made of them must give."""

import numpy as np
from numpy.typing import NDArray

from didcli.render import dsprites, shapes3d


def dsprites_images(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """rows: (B,), 0..737279. Returns (B, 64, 64), values 0 and 1."""
    poses, members = np.unique(rows // dsprites.POSE_IMAGES, return_inverse=True)
    packed = np.empty((len(rows), dsprites.IMAGE_BYTES), dtype=np.uint8)
    for member, number in enumerate(poses):
        chosen = members == member
        packed[chosen] = dsprites.block(int(number))[rows[chosen] % dsprites.POSE_IMAGES]
    return np.unpackbits(packed, axis=1).reshape(-1, dsprites.SIDE, dsprites.SIDE)


def shapes3d_images(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """rows: (B,), 0..479999. Returns (B, 3, 64, 64), 0..255. Draws only the poses that occur."""
    table = np.zeros((shapes3d.POSES, shapes3d.POSE_BYTES), dtype=np.uint8)
    for number in np.unique(rows % shapes3d.POSES):
        table[number] = shapes3d.pose(int(number))
    return shapes3d.compose(table, rows)
