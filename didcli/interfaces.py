"""What the engine asks of a dataset and of a method; for a metric see `didcli.metrics`.

These are protocols: a plug-in satisfies one by having its attributes, not by inheriting from it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


class Dataset(Protocol):
    """Images, and for most sets the ground-truth factors that made them.

    A module in `didcli/data/` has `load(source="auto", data_dir=None) -> Dataset`.
    """

    name: str
    source: str
    """Origin of the pixels: `official sha256:…` or `rendered v1`; recorded in every run."""
    image_shape: tuple[int, int, int]
    """Shape of an image, (C, H, W)."""
    factor_names: tuple[str, ...]
    """Names of the K factors; empty where the factors are not known."""
    factor_sizes: tuple[int, ...]
    """Number of values of each factor."""
    notes: tuple[str, ...]
    """What users of the set must know, a sentence each: files left out, an origin that cannot be
    verified. Every command that reads images or scores of the set says it."""

    @property
    def factors(self) -> "NDArray[np.int64]":
        """Values of the factors, (N, K), each column counted from 0."""
        ...

    def images(self, rows: "NDArray[np.int64]") -> "NDArray[np.uint8]":
        """Images of these rows: (B,) -> (B, C, H, W), 0..255."""
        ...

    def __len__(self) -> int: ...


class Method(Protocol):
    """A generative model with codes. It owns its networks and its optimisers.

    A module in `didcli/methods/` has a frozen dataclass `Config` and
    `build(config: Config, image_shape: tuple[int, int, int]) -> Method`; the result is a
    `torch.nn.Module` whose `state_dict()` holds every weight, `g.*`, `d.*`, `e.*` and so on.
    Where training depends on the size of the dataset, the module also has
    `for_dataset(config: Config, images: int) -> Config`: the settings by which to build a method
    that is trained on so many images. A run keeps the settings that it was given.
    """

    latent_dim: int
    """D, the number of codes."""
    code_range: tuple[float, float]
    """Smallest and largest value that `traverse` gives to a code."""
    optimisers: "Mapping[str, torch.optim.Optimizer]"
    # A method whose codes are angles also has `angles: tuple[int, ...]`, the numbers of those in
    # which -1 and 1 are one value: choosing among runs then compares circles, not numbers.

    def train_step(
        self, images: "torch.Tensor", rng: "torch.Generator", step: int
    ) -> "Mapping[str, torch.Tensor]":
        """One step of every optimiser whose turn it is; return detached scalars to log.

        images: (B, C, H, W) float32 in [0, 1].
        rng: the only source of randomness, seeded by the engine from (seed, step).
        step: counts from 0; schedules are functions of it, so that a method keeps no counter.
        """
        ...

    def encode(self, images: "torch.Tensor") -> "torch.Tensor":
        """(B, C, H, W) float32 in [0, 1] -> (B, D) float32, deterministic."""
        ...

    def decode(self, codes: "torch.Tensor") -> "torch.Tensor":
        """(B, D) -> (B, C, H, W) float32 in [0, 1], deterministic."""
        ...
