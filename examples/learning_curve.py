"""MIG, DCI-D and SAP against training time, of several presets.

    python examples/learning_curve.py did-dsprites-quick beta_tcvae-dsprites --out curves

Each preset is trained to a few numbers of steps one after the other, each time going on from the
last, and scored there: `did train --resume --steps N`, `did eval --json`. A curve that was cut off
goes on where it was; give a new --out when a preset has changed. Time is that of training and of
saving, as log.jsonl has it, without starting up and scoring. Writes curves.csv and curves.png into
--out. `NAME:key=value;...` changes settings, as --set does.
"""

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from didcli import config as settings

SCORES = {"mig": "MIG", "dci_disentanglement": "DCI-D", "sap": "SAP"}
COLUMNS = ("curve", "step", "minutes", *SCORES)
DID = (sys.executable, "-m", "didcli")
HALVINGS = 5
"""Points of a curve before the last: at half of its steps, a quarter, ..."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("presets", nargs="+", metavar="PRESET[:KEY=VALUE;...]")
    parser.add_argument("--out", type=Path, default=Path("curves"))
    parser.add_argument("--threads", type=int, default=0, help="0 is one per core")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for curve in arguments.presets:
        for row in points(curve, arguments.out / f"{name_of(curve)}-s{arguments.seed}", arguments):
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


def points(curve: str, run: Path, arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    """The rows of a curve, in the order of training."""
    preset, _, changes = curve.partition(":")
    assignments = [text for text in changes.split(";") if text]
    steps = settings.resolve(preset, assignments=assignments).train.steps
    options = ["--preset", preset, "--seed", str(arguments.seed), "--out", str(run), "--resume"]
    options += ["--threads", str(arguments.threads), "--quiet", "--set", "train.picture_every=0"]
    for text in assignments:
        options += ["--set", text]
    for until in sorted({max(1, steps >> halving) for halving in range(HALVINGS + 1)}):
        report = run / f"eval-{until}.json"
        if not report.exists():
            training = [*DID, "train", *options, "--steps", str(until)]
            subprocess.run(training, check=True, stdout=subprocess.DEVNULL)
            evaluation = [*DID, "eval", str(run), "--metrics", "mig,dci,sap", "--json", "--quiet"]
            report.write_bytes(subprocess.run(evaluation, check=True, capture_output=True).stdout)
        scores = json.loads(report.read_text())["scores"]
        yield {
            "curve": curve,
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
    """A panel for each score, a line for each curve."""
    figure = Figure(figsize=(3.4 * len(SCORES), 3.2), layout="constrained", dpi=130)
    for axis, (key, title) in zip(figure.subplots(1, len(SCORES)), SCORES.items(), strict=True):
        for curve in dict.fromkeys(row["curve"] for row in rows):
            own = [row for row in rows if row["curve"] == curve]
            axis.plot([row["minutes"] for row in own], [row[key] for row in own], "o-", label=curve)
        axis.set_title(title)
        axis.set_xlabel("minutes of training")
        axis.set_ylim(bottom=0)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", fontsize=8)
    return figure


if __name__ == "__main__":
    main()
