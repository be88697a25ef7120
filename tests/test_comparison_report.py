"""What the picture of a comparison says beside its dots."""

import dataclasses

import pytest

from didcli.engine import comparison_report
from didcli.engine.comparison_table import Scored, compare

COMPARISON = compare(["ours"], [Scored("ours", 0, "ours-s0", {"mig": 0.4})], ["mig"])


@pytest.mark.parametrize(("source", "said"), [("", []), ("rendered v1", ["images: rendered v1"])])
def test_the_picture_names_the_images(monkeypatch, source, said):
    headings = []
    monkeypatch.setattr(
        comparison_report, "draw_dots", lambda _, heading: headings.append(heading) or b""
    )
    comparison_report.picture(dataclasses.replace(COMPARISON, data_source=source))
    assert headings[0].splitlines()[1:] == said
