"""Does the exact DCI agree with scikit-learn's? Both on the same codes, points and seeds.

    python examples/compare_dci_backends.py CODES.npz... [--seeds 10] [--train-points 10000]

CODES.npz is what `did eval --codes` takes. Trees break ties between equally good splits at random,
each backend by its own random numbers, so that the two agree in the mean over seeds only. The last
two columns are the difference of the means in standard errors: of two independent means, and,
sharper, of the mean of the differences seed by seed.
"""

import argparse
from pathlib import Path

import numpy as np

from didcli.engine.evaluate import EvaluationProtocol, evaluate, read_code_table

PARTS = ("disentanglement", "completeness", "informativeness")
"""The last is the accuracy on the test points."""


def standard_errors(difference: float, error: float) -> float:
    return 0.0 if difference == 0 else difference / error if error else float("inf")


def compare(path: Path, options: argparse.Namespace) -> None:
    with path.open("rb") as file:
        table = read_code_table(file, path.name)
    scores = {}
    for backend in ("exact", "sklearn"):
        protocol = EvaluationProtocol(
            train_points=options.train_points,
            test_points=options.test_points,
            eval_seeds=options.seeds,
            dci_backend=backend,
        )
        scores[backend] = evaluate(table, ["dci"], protocol)["scores_per_seed"]
    for part in PARTS:
        ours, theirs = (np.array(scores[each][f"dci_{part}"]) for each in ("exact", "sklearn"))
        difference = ours.mean() - theirs.mean()
        root = len(ours) ** 0.5
        independent = float(np.hypot(ours.std(ddof=1), theirs.std(ddof=1))) / root
        paired = float((ours - theirs).std(ddof=1)) / root
        print(
            f"{path.stem:12} {part:16} {ours.mean():8.5f} ±{ours.std(ddof=1):8.5f}"
            f" {theirs.mean():8.5f} ±{theirs.std(ddof=1):8.5f} {difference:+9.5f}"
            f" {standard_errors(difference, independent):+6.2f}"
            f" {standard_errors(difference, paired):+6.2f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("codes", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--train-points", type=int, default=10_000)
    parser.add_argument("--test-points", type=int, default=5_000)
    options = parser.parse_args()
    print(f"{'codes':12} {'':16} {'exact':>18} {'scikit-learn':>18} {'difference':>9}    /se /pair")
    for path in options.codes:
        compare(path, options)


if __name__ == "__main__":
    main()
