"""Draw examples/shapes3d_contact_sheet.png: real images of 3DShapes next to their nearest rendered.

    python examples/shapes3d_contact_sheet.py ../shared/reference/shapes3d_tiles.npz

The file has `images` (N, 64, 64, 3), whose factors nobody knows. Prints those found and how far
off the nearest image is: the mean absolute difference, of 255.
"""

import argparse
import colorsys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from didcli.data import shapes3d
from didcli.interfaces import Dataset

COLUMNS = 5
GAP = 4
WHITE = 255


def hue_index(pixels: NDArray[np.uint8]) -> int:
    """Which of the ten hues the material in these pixels, (H, W, 3), has."""
    red, green, blue = np.median(pixels.reshape(-1, 3), axis=0) / 255
    return round(10 * colorsys.rgb_to_hsv(red, green, blue)[0]) % 10


def nearest_row(dataset: Dataset, image: NDArray[np.uint8]) -> tuple[int, float]:
    """Row of the rendered image nearest to `image`, (64, 64, 3), and the mean difference.

    Floor and walls say their hue in places that no object reaches; the rest is tried out.
    """
    floor, wall = hue_index(image[58:62, 4:10]), hue_index(image[24:32, 4:8])
    factors = dataset.factors
    rows = np.flatnonzero((factors[:, 0] == floor) & (factors[:, 1] == wall))
    wanted = image.transpose(2, 0, 1).astype(np.int16)
    errors = np.concatenate(
        [np.abs(dataset.images(part) - wanted).mean(axis=(1, 2, 3)) for part in np.split(rows, 10)]
    )
    return int(rows[errors.argmin()]), float(errors.min())


def contact_sheet(pairs: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, 2, 64, 64, 3) -> pairs side by side, `COLUMNS` of them in a line, on white."""
    count, _, side, _, _ = pairs.shape
    lines = -(-count // COLUMNS)
    cell_height, cell_width = side + GAP, 2 * side + GAP
    sheet = np.full((lines * cell_height + GAP, COLUMNS * cell_width + GAP, 3), WHITE, np.uint8)
    for number, (original, rendered) in enumerate(pairs):
        line, column = divmod(number, COLUMNS)
        top, left = GAP + line * cell_height, GAP + column * cell_width
        sheet[top : top + side, left : left + 2 * side] = np.hstack([original, rendered])
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tiles", type=Path, help="npz with images (N, 64, 64, 3)")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".png"))
    arguments = parser.parse_args()

    with np.load(arguments.tiles, allow_pickle=False) as archive:
        tiles = archive["images"]
    dataset = shapes3d.load("rendered")
    found = [nearest_row(dataset, tile) for tile in tiles]
    for number, (row, error) in enumerate(found):
        print(f"{number:2}  {dataset.factors[row].tolist()}  {error:.2f}")
    print(f"mean {np.mean([error for _, error in found]):.2f}")

    rendered = dataset.images(np.array([row for row, _ in found])).transpose(0, 2, 3, 1)
    sheet = contact_sheet(np.stack([tiles, rendered], axis=1))
    Image.fromarray(sheet).save(arguments.output, optimize=True)
    print(arguments.output)


if __name__ == "__main__":
    main()
