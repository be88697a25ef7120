"""Training throughput, in images of real data per second, each figure from this one run.

    python examples/benchmark_training.py [--threads 2] [--seconds 10]

`plain` is the same DiD step without what makes it fast on a CPU: the classic 32-32-64-64 stack of
convolutions at full resolution, in float32, with contiguous images. Rounds alternate between the
rows, so that a busy moment of the machine hits all of them; a row shows its median round.
"""

import argparse
import dataclasses
import statistics
import time

import numpy as np
import torch

from didcli import config as settings
from didcli import registry
from didcli.engine import device as devices
from didcli.engine import runs
from didcli.engine.setup import step_generator

BATCH_SIZE = 64
ROUNDS = 5
CPU = torch.device("cpu")


class Row:
    """One way of training, warmed up and ready to be timed."""

    def __init__(self, label: str, preset: str, *, plain: bool = False, **changes: object) -> None:
        self.label = label
        config = settings.resolve(preset)
        chosen = dataclasses.replace(config.method.settings, **changes)
        self.dataset = runs.load_dataset(config)
        module = registry.load("methods", config.method.name)
        self.layout = torch.contiguous_format if plain else torch.channels_last
        self.method = module.build(chosen, self.dataset.image_shape).to(memory_format=self.layout)
        self.precision = devices.choose_precision("fp32" if plain else "auto", CPU)
        # By the middle of a run all losses have come in.
        self.step = config.train.steps // 2
        self.rates: list[float] = []
        self.drawing: list[float] = []

    def run(self, seconds: float) -> None:
        """Train for about `seconds`; note the images per second, and what drawing them took."""
        steps, drawing, started = 0, 0.0, time.perf_counter()
        while time.perf_counter() - started < seconds or steps < 4:
            rng = step_generator(0, self.step, CPU)
            asked = time.perf_counter()
            rows = np.random.default_rng(self.step).integers(len(self.dataset), size=BATCH_SIZE)
            images = runs.to_unit_range(self.dataset.images(rows), CPU)
            images = images.contiguous(memory_format=self.layout)
            drawing += time.perf_counter() - asked
            with devices.autocast(CPU, self.precision):
                self.method.train_step(images, rng, self.step)
            self.step += 1
            steps += 1
        passed = time.perf_counter() - started
        self.rates.append(steps * BATCH_SIZE / passed)
        self.drawing.append(drawing / passed)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates[1:])  # the first round warms up

    def __str__(self) -> str:
        drawing = statistics.median(self.drawing[1:])
        return (
            f"{self.label:24} {self.rate:7.0f} images/s  {self.rate / BATCH_SIZE:6.1f} steps/s  "
            f"({drawing:.1%} of a step: drawing the images)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each row, in all")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    quick = Row("did, the quick preset", registry.DEFAULT_PRESET)
    plain = Row("did, plain", registry.DEFAULT_PRESET, plain=True, networks="classic")
    rows = [quick, plain, Row("did, 3DShapes, quick", "did-shapes3d-quick")]
    for method in ("beta_tcvae", "factor_vae"):
        if f"{method}-dsprites" in registry.presets():
            rows.append(Row(method, f"{method}-dsprites"))
    for _ in range(ROUNDS + 1):
        for row in rows:
            row.run(arguments.seconds / ROUNDS)

    print(f"batch {BATCH_SIZE}, {devices.describe(CPU, quick.precision, arguments.threads)}")
    for row in rows:
        print(row)
    print(f"quick over plain: {quick.rate / plain.rate:.2f}")


if __name__ == "__main__":
    main()
