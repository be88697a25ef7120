"""Score an encoder that was trained elsewhere: any function from images to codes will do.

    python examples/score_any_encoder.py

It takes uint8 images (B, C, H, W), 0..255, and returns one row of codes for each. Put networks into
evaluation mode first: an encoder that gives the same image two codes is refused.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from didcli import registry
from didcli.engine.encode import encode_images
from didcli.engine.evaluate import code_table, evaluate

# Your network, in place of this untrained one.
network = torch.nn.Sequential(
    torch.nn.AvgPool2d(8), torch.nn.Flatten(), torch.nn.Linear(64, 10)
).eval()


@torch.no_grad()
def encoder(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return network(torch.from_numpy(images).float() / 255).numpy()


if __name__ == "__main__":
    dataset = registry.load("data", "dsprites").load()
    codes = encode_images(encoder, dataset)
    table = code_table(codes, dataset.factors, dataset.factor_sizes, dataset.factor_names)
    report = evaluate(table, ["mig", "dci", "sap"])
    print(report["scores"])
