"""How long a training step takes on this machine."""

import time
from pathlib import Path

from didcli.config import RunConfig
from didcli.engine.setup import set_up
from didcli.io.records import OnProgress

PLACES = 4
"""Places at which steps are timed, the middle of each quarter of the run: a step costs more once a
loss has come in, or a code has opened."""
STEPS = 8
"""Steps timed at each place. Some have a penalty at every fourth step."""


def seconds_per_step(
    config: RunConfig,
    data_dir: Path | None = None,
    on_data: OnProgress | None = None,
) -> float:
    """The mean over the run, from a few steps of an untrained method; nothing is written.

    on_data: as for `set_up`, which raises what this does.
    """
    setup = set_up(config, data_dir, on_data)
    setup.step(0)  # the first one allocates memory and chooses kernels
    seconds = 0.0
    for place in range(PLACES):
        first = config.train.steps * (2 * place + 1) // (2 * PLACES)
        started = time.perf_counter()
        for step in range(first, first + STEPS):
            losses = setup.step(step)
        float(next(iter(losses.values())))  # waits for the device
        seconds += time.perf_counter() - started
    return seconds / (PLACES * STEPS)
