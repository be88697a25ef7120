import pytest

from didcli.nn.schedules import at, highest


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (2.0, [2.0] * 6),
        ({5: 2.0}, [2.0] * 6),
        ({100: 0.0, 300: 2.0}, [0.0, 0.0, 0.5, 1.0, 2.0, 2.0]),
        ({100: 2.0, 300: 0.0}, [2.0, 2.0, 1.5, 1.0, 0.0, 0.0]),
        ({300: 1.0, 100: 3.0, 200: 1.0, 400: 0.0}, [3.0, 3.0, 2.0, 1.0, 1.0, 0.0]),
    ],
    ids=str,
)
def test_values_lie_on_lines_between_the_given_steps(schedule, values):
    steps = (0, 100, 150, 200, 300, 9999)
    assert [at(schedule, step) for step in steps] == pytest.approx(values)
    assert highest(schedule) == max(values)


def test_a_jump_takes_one_step():
    assert [at({9: 0.0, 10: 1.0}, step) for step in (8, 9, 10, 11)] == [0.0, 0.0, 1.0, 1.0]
