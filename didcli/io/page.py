"""One HTML page with nothing outside it: images embedded, a slider for each row of them."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TEMPLATE = Path(__file__).with_name("page.html.jinja")


@dataclass(frozen=True)
class Slider:
    """Images of which the page shows one at a time."""

    label: str
    values: tuple[str, ...]
    """What the slider reads at each image."""
    images: tuple[bytes, ...]
    """PNG files, as many as values."""


def sliders(title: str, rows: Sequence[Slider]) -> str:
    """The page. Without JavaScript all images show, one beside the other."""
    # Imported here, because training imports this module and writes no page.
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        title=title,
        rows=[
            {
                "label": row.label,
                "steps": [
                    {"value": value, "source": _data_uri(image)}
                    for value, image in zip(row.values, row.images, strict=True)
                ],
            }
            for row in rows
        ],
    )


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
