"""MIG, DCI-D and SAP against training time, of several presets.

    python examples/learning_curve.py did-dsprites-quick beta_tcvae-dsprites --seeds 0 1 2

Each preset is trained to a few numbers of steps, up to its own, one after the other, each time
going on from the last, and scored there: `did train --resume --steps N`, `did eval --json`. A curve
that was cut off goes on where it was; give a new --out when a preset has changed. Time is that of
training and of saving, as log.jsonl has it, without starting up and scoring. Writes curves.csv, a
row for each score of a run, and curves.png, means and ranges over seeds, into --out.
`NAME:key=value;...` changes settings, as --set does.
"""

import argparse
import csv
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

from matplotlib.figure import Figure

from didcli import config as settings

SCORES = {"mig": "MIG", "dci_disentanglement": "DCI-D", "sap": "SAP"}
COLUMNS = ("curve", "seed", "step", "minutes", *SCORES)
DID = (sys.executable, "-m", "didcli")
EIGHTHS = (1, 2, 4, 6, 8)
"""Of a preset's steps: where it is scored."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("presets", nargs="+", metavar="PRESET[:KEY=VALUE;...]")
    parser.add_argument("--out", type=Path, default=Path("curves"))
    parser.add_argument("--threads", type=int, default=0, help="0 is one per core")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="SEED")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed, curve in itertools.product(arguments.seeds, arguments.presets):
        run = arguments.out / f"{name_of(curve)}-s{seed}"
        for row in points(curve, seed, run, arguments.threads):
            print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
            rows.append(row)
    with (arguments.out / "curves.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    draw(rows).savefig(arguments.out / "curves.png")


def name_of(curve: str) -> str:
    """A folder name."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in curve)


def points(curve: str, seed: int, run: Path, threads: int) -> Iterator[dict[str, object]]:
    """The rows of a run, in the order of training."""
    preset, _, changes = curve.partition(":")
    assignments = [text for text in changes.split(";") if text]
    steps = settings.resolve(preset, assignments=assignments).train.steps
    options = ["--preset", preset, "--seed", str(seed), "--out", str(run), "--resume"]
    options += ["--threads", str(threads), "--quiet", "--set", "train.picture_every=0"]
    for text in assignments:
        options += ["--set", text]
    for until in sorted({max(1, steps * part // 8) for part in EIGHTHS}):
        report = run / f"eval-{until}.json"
        if not report.exists():
            training = [*DID, "train", *options, "--steps", str(until)]
            subprocess.run(training, check=True, stdout=subprocess.DEVNULL)
            evaluation = [*DID, "eval", str(run), "--metrics", "mig,dci,sap", "--json", "--quiet"]
            report.write_bytes(subprocess.run(evaluation, check=True, capture_output=True).stdout)
        scores = json.loads(report.read_text())["scores"]
        yield {
            "curve": curve,
            "seed": seed,
            "step": until,
            "minutes": round(seconds(run, until) / 60, 2),
            **{key: round(scores[key], 4) for key in SCORES},
        }


def seconds(run: Path, until: int) -> float:
    """How long the steps up to `until` took, without starting up and scoring in between."""
    total, before = 0.0, None
    for line in (run / "log.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["step"] > until:
            break
        if event["event"] == "log":
            if before is not None:
                total += event["time"] - before
            before = event["time"]
        elif event["event"] == "start":
            before = event["time"]
    return total


def draw(rows: list[dict[str, object]]) -> Figure:
    """A panel for each score, and in it a line for each curve: the mean of its seeds, and a band
    from the lowest to the highest."""
    figure = Figure(figsize=(3.4 * len(SCORES), 3.2), layout="constrained", dpi=130)
    for axis, (key, title) in zip(figure.subplots(1, len(SCORES)), SCORES.items(), strict=True):
        for curve in dict.fromkeys(row["curve"] for row in rows):
            own = [row for row in rows if row["curve"] == curve]
            stops = [
                [row for row in own if row["step"] == step]
                for step in dict.fromkeys(row["step"] for row in own)
            ]
            minutes = [mean(row["minutes"] for row in stop) for stop in stops]
            scores = [[row[key] for row in stop] for stop in stops]
            axis.plot(minutes, list(map(mean, scores)), "o-", label=curve)
            axis.fill_between(minutes, list(map(min, scores)), list(map(max, scores)), alpha=0.2)
        axis.set_title(title)
        axis.set_xlabel("minutes of training")
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", fontsize=8)
    return figure


if __name__ == "__main__":
    main()
