"""Seconds per metric on dSprites' full grid, and how they compare with plain scikit-learn.

    python examples/benchmark_metrics.py [--threads 2] [--skip-reference] [--skip-encoding]

The codes are made up: 737,280 x 10, five latents that each know a factor through noise, five of
noise. Protocol: 10,000 training, 5,000 test and 10,000 variance points, as in the literature. The
references are what one would write first: scikit-learn's estimators and numpy in a loop, on one
thread. Encoding is timed with the encoder of the quick preset, on the real images.

Seconds are those of the clock; those of the processor, beside them, hold on a busy machine too. The
two ratios are of processor seconds on one thread, and of the clock's with all threads.
"""

import argparse
import functools
import itertools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.svm import LinearSVC

from didcli import registry
from didcli.engine.evaluate import CodeTable, EvaluationProtocol, code_table
from didcli.scoring.sampling import draw_factors, draw_points, draw_training_and_test

SIZES = (3, 6, 40, 32, 32)
NAMES = ("shape", "scale", "orientation", "pos_x", "pos_y")
Codes = NDArray[np.float32]


def made_up_codes() -> CodeTable:
    factors = np.stack(np.unravel_index(np.arange(prod(SIZES)), SIZES), axis=1)
    rng = np.random.default_rng(0)
    signal = 2 * factors / (np.array(SIZES) - 1) - 1 + 0.2 * rng.normal(size=factors.shape)
    noise = rng.normal(size=factors.shape)
    return code_table(np.hstack([signal, noise]), factors, SIZES, NAMES)


def plain_sap(table: CodeTable, protocol: EvaluationProtocol) -> float:
    train, test = draw_training_and_test(table, np.random.RandomState(0), protocol)
    accuracy = np.zeros((train.codes.shape[1], len(SIZES)))
    for d, k in np.ndindex(accuracy.shape):
        model = LinearSVC(C=0.01, class_weight="balanced")
        model.fit(train.codes[:, [d]], train.factors[:, k])
        accuracy[d, k] = model.score(test.codes[:, [d]], test.factors[:, k])
    second, best = np.sort(accuracy, axis=0)[-2:]
    return float((best - second).mean())


def plain_dci(table: CodeTable, protocol: EvaluationProtocol) -> float:
    train, test = draw_training_and_test(table, np.random.RandomState(0), protocol)
    accuracies = []
    for k in range(len(SIZES)):
        model = GradientBoostingClassifier().fit(train.codes, train.factors[:, k])
        accuracies.append(model.score(test.codes, test.factors[:, k]))
    return float(np.mean(accuracies))


def plain_factor_vae(table: CodeTable, protocol: EvaluationProtocol) -> float:
    rng = np.random.RandomState(0)
    variances = draw_points(table, rng, protocol.variance_points, None).codes.var(axis=0, ddof=1)

    def votes(count: int) -> NDArray[np.int64]:
        counted = np.zeros((len(variances), len(SIZES)), dtype=np.int64)
        for _ in range(count):
            factor = rng.randint(len(SIZES))
            factors = draw_factors(rng, SIZES, protocol.vote_batch)
            factors[:, factor] = factors[0, factor]
            within = table.codes[table.rows(factors)].var(axis=0, ddof=1)
            counted[np.argmin(within / variances), factor] += 1
        return counted

    best = votes(protocol.train_points).argmax(axis=1)
    test = votes(protocol.test_points)
    return float(test[np.arange(len(test)), best].sum() / test.sum())


PLAIN: dict[str, Callable[[CodeTable, EvaluationProtocol], float]] = {
    "dci": plain_dci,
    "factor_vae": plain_factor_vae,
    "sap": plain_sap,
}


@dataclass(frozen=True)
class Spent:
    """Seconds by the clock, and of the processor."""

    clock: float
    processor: float


def time_of(work: Callable[[], object]) -> Spent:
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - clock, time.process_time() - processor)


def warm_up(protocol: EvaluationProtocol) -> float:
    """Import what metrics import, and load or compile the trees; not part of what is compared."""
    factors = np.array(list(itertools.product(range(3), range(2))))
    tiny = code_table(factors.astype(float), factors)

    def once() -> None:
        for name in registry.names("metrics"):
            registry.load("metrics", name)
        registry.load("metrics", "dci").score(tiny, np.random.RandomState(0), protocol)

    return time_of(once).clock


def time_encoding(threads: int) -> tuple[float, int]:
    """Seconds to encode dSprites with the quick preset's encoder, and the number of images."""
    import torch

    from didcli import config
    from didcli.engine import runs
    from didcli.engine.encode import encode_images

    torch.set_num_threads(threads)
    settings = config.resolve()
    dataset = runs.load_dataset(settings)
    method = runs.build_method(settings, dataset.image_shape).eval()
    method.to(memory_format=torch.channels_last)

    def encode(images: NDArray[np.uint8]) -> Codes:
        parts = np.split(images, range(runs.BATCH_SIZE, len(images), runs.BATCH_SIZE))
        tensors = [runs.to_unit_range(part, torch.device("cpu")) for part in parts]
        return np.concatenate([method.encode(tensor).numpy() for tensor in tensors])

    return time_of(lambda: encode_images(encode, dataset)).clock, len(dataset)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--skip-reference", action="store_true", help="no scikit-learn (minutes)")
    parser.add_argument("--skip-encoding", action="store_true")
    options = parser.parse_args()

    table = made_up_codes()
    one = EvaluationProtocol(threads=1)
    several = EvaluationProtocol(threads=options.threads)
    print(f"{len(table):,} x {table.codes.shape[1]} codes, Python {sys.version.split()[0]}")
    print(f"imports, and loading or compiling the trees: {warm_up(one):.1f} s\n")

    heads = ["1 thread", "(cpu)", f"{options.threads} threads", "plain", "(cpu)", "ratio", "ratio"]
    print(f"{'seconds':<12}" + "".join(f"{head:>11}" for head in heads))
    total = dict.fromkeys(("alone", "cpu", "together"), 0.0)
    for name in registry.names("metrics"):
        score = registry.load("metrics", name).score
        alone, together = (
            time_of(functools.partial(score, table, np.random.RandomState(0), protocol))
            for protocol in (one, several)
        )
        total["alone"] += alone.clock
        total["cpu"] += alone.processor
        total["together"] += together.clock
        row = [alone.clock, alone.processor, together.clock]
        if name in PLAIN and not options.skip_reference:
            plain = time_of(functools.partial(PLAIN[name], table, one))
            row += [plain.clock, plain.processor]
            row += [plain.processor / alone.processor, plain.clock / together.clock]
        print(f"{name:<12}" + "".join(f"{value:11.2f}" for value in row), flush=True)
    print(f"{'all':<12}" + "".join(f"{value:11.2f}" for value in total.values()))
    if not options.skip_encoding:
        spent, images = time_encoding(options.threads)
        print(f"\nencoding {images:,} images: {spent:.1f} s, {images / spent:,.0f} a second")


if __name__ == "__main__":
    main()
