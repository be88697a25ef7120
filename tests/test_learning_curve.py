"""examples/learning_curve.py: whose time it counts, and what it draws."""

import json
import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "examples" / "learning_curve.py"
CURVE = runpy.run_path(str(SCRIPT), run_name="learning_curve")


def test_the_time_is_that_of_training_alone(tmp_path):
    """Trained for 100 s to step 20, scored for 1,000 s, trained for 60 s more to step 30."""
    events = [
        ("start", 0, 5000),
        ("log", 10, 5050),
        ("log", 20, 5100),
        ("start", 20, 6100),
        ("log", 30, 6160),
        ("start", 30, 9000),
    ]
    lines = [json.dumps({"event": name, "step": step, "time": t}) for name, step, t in events]
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    assert [CURVE["seconds"](tmp_path, until) for until in (10, 20, 30)] == [50, 100, 160]


def test_a_curve_is_the_mean_of_its_seeds_and_their_range():
    rows = [row(0, 1, 2.0, 0.1), row(0, 2, 4.0, 0.3), row(1, 1, 4.0, 0.3), row(1, 2, 6.0, 0.5)]
    panel = CURVE["draw"](rows).axes[0]
    (line,) = panel.get_lines()
    assert line.get_xdata() == pytest.approx([3, 5])
    assert line.get_ydata() == pytest.approx([0.2, 0.4])
    (band,) = panel.collections
    bounds = band.get_paths()[0].get_extents()
    assert (bounds.y0, bounds.y1) == pytest.approx((0.1, 0.5))


def row(seed: int, step: int, minutes: float, mig: float) -> dict[str, object]:
    scores = {"mig": mig, "dci_disentanglement": 0.5, "sap": 0.1}
    return {"curve": "did", "seed": seed, "step": step, "minutes": minutes, **scores}
