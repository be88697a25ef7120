"""Write scikit-learn's handwritten digits, which come with the package, as images of one's own.

    python examples/own_images.py digits

makes a folder of 1,797 PNG files of 8 x 8 pixels, and factors.csv, which says what each shows.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def write(folder: Path) -> None:
    digits = load_digits()
    folder.mkdir(parents=True)
    with (folder / "factors.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "digit", "ink"])
        for number, (image, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
            name = f"{number:04}.png"
            Image.fromarray((image * 255 / 16).astype(np.uint8)).save(folder / name)
            table.writerow([name, digit, int(image.mean())])  # factors are whole numbers


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    write(parser.parse_args().folder)
