"""The codes that DiD draws: alone, in pairs that differ in one dimension, and as anchors.

Networks see a code c in [-1, 1] as it is; or as a point of the unit circle, (cos pi c, sin pi c),
where -1 and 1 are the same; or two of them as a point of the unit disc, whose polar coordinates
they are: `embed` and `unembed`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from didcli.nn.schedules import Step, at
from didcli.nn.settings import LARGEST, Size

Code = Annotated[int, Ge(0)]
"""The number of a code, from 0."""
Reach = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True)
class CodeConfig:
    """What codes there are, and how one of them is changed."""

    latent_dim: Annotated[int, Ge(2), Le(LARGEST)] = 6
    """n, the number of codes. Best near that of the factors: spare codes tear the images apart."""
    noise_dim: Size = 4
    """m, the dimensions of z, which no loss looks at."""
    categories: dict[Code, Annotated[int, Ge(2)]] = field(default_factory=dict)
    """Codes that take a few values, evenly spaced in [-1, 1], for factors of as many kinds, such as
    shape: `{4: 3}` gives code 4 three values. The others are uniform."""
    circular: list[Code] = field(default_factory=list)
    """Codes that are angles, for factors that come back to where they started, such as hues."""
    polar: dict[Code, Code] = field(default_factory=dict)
    """Pairs of codes, angle: radius, that are a point of the unit disc, evenly drawn. For a factor
    that shows only as far as another one lets it: a direction, and how much of a direction there
    is. The radius is 0 where its code is -1, and 1 where it is 1; the code grows as its square."""
    opening: dict[Code, dict[Step, Reach]] = field(default_factory=dict)
    """Schedules of codes that are closed at first: how far from 0 each reaches, 0 to 1, at given
    steps, joined by lines. `{3: {2000: 0, 3000: 1}}` holds code 3 at 0 until step 2000; from step
    3000 on it is open, like the codes that are not named. While few codes are open, they share out
    the greatest differences among them, one each."""
    perturbation: Literal["step", "redraw"] = "step"
    """Whether c_i moves by a step or is drawn anew from U[-1, 1]."""
    step_min: Annotated[float, Gt(0), Lt(1)] = 0.3
    """Smallest step of a code."""
    step_max: Annotated[float, Gt(0), Le(1)] = 1.0
    """Largest step of a code: at most 1, so that one direction stays within [-1, 1]."""

    @property
    def angles(self) -> list[int]:
        """Codes for which -1 and 1 are the same value."""
        return [*self.circular, *self.polar]

    def __post_init__(self) -> None:
        kinds = {
            "circular": [*self.circular],
            "polar": [*self.polar, *self.polar.values()],
            "categories": [*self.categories],
        }
        named = {**kinds, "opening": [*self.opening]}
        beyond = [key for key, codes in named.items() if max(codes, default=0) >= self.latent_dim]
        if beyond:
            last = max(max(named[key]) for key in beyond)
            raise ValueError(
                f"{' and '.join(beyond)}: codes are 0 to {self.latent_dim - 1} (latent_dim), not "
                f"{last}; give other ones, or none: [] or {{}}"
            )
        for code in range(self.latent_dim):
            twice = [name for name, codes in kinds.items() for own in codes if own == code]
            if len(twice) > 1:
                raise ValueError(
                    f"{twice[0]}: code {code} is named twice, in {' and '.join(twice)}; give "
                    "other codes, or none: [] or {}"
                )
        for angle, radius in self.polar.items():
            if self.opening.get(angle) != self.opening.get(radius):
                raise ValueError(
                    f"opening: codes {angle} and {radius} are one point (polar: {self.polar}): "
                    "give both the same steps, or neither any"
                )
        if self.step_min > self.step_max:
            raise ValueError(f"step_min: {self.step_min} is above step_max, {self.step_max}")
        for code, schedule in self.opening.items():
            reaches = [schedule[step] for step in sorted(schedule)]
            if not reaches or reaches != sorted(reaches) or reaches[-1] < 1.0:
                raise ValueError(
                    f"opening: code {code} must not close again, and end at 1, not {schedule}; "
                    "for example {2000: 0, 3000: 1}"
                )
        if len(open_codes(self, 0)) < 2:
            raise ValueError(
                f"opening: fewer than 2 of {self.latent_dim} codes are open from the start, and "
                "differences are compared between two"
            )


def draw_pairs(
    config: CodeConfig, count: int, device: torch.device, rng: torch.Generator, step: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Codes c (B, n) in [-1, 1], c' with one open dimension of each changed, and which: (B,)."""
    codes = uniform((count, config.latent_dim), device, rng)
    for code, kinds in config.categories.items():
        kind = torch.randint(kinds, (count,), generator=rng, device=device)
        codes[:, code] = _category(kind, kinds)
    choice = torch.tensor(open_codes(config, step), device=device)
    changed = choice[torch.randint(len(choice), (count, 1), generator=rng, device=device)]
    moved = codes.scatter(1, changed, _perturbed(config, codes, changed, rng))
    return codes, moved, changed.squeeze(1)


def draw_neighbours(
    config: CodeConfig,
    inputs: Tensor,
    small_step: float | None,
    rng: torch.Generator,
    step: int,
) -> Tensor:
    """Inputs of G (A, n + m) -> (2 A, n + m): each changed in one open code, then each in another.

    The change is one as in a pair where `small_step` is None or the code has categories, else such
    a step in either direction, which may lead out of [-1, 1].
    """
    choice = torch.tensor(open_codes(config, step), device=inputs.device)
    count, n = len(inputs), len(choice)
    first = torch.randint(n, (count, 1), generator=rng, device=inputs.device)
    apart = torch.randint(1, n, (count, 1), generator=rng, device=inputs.device)
    changed = choice[torch.cat((first, (first + apart) % n))]
    twice = inputs.repeat(2, 1)
    if small_step is None:
        new = _perturbed(config, twice, changed, rng)
    else:
        sign = uniform((2 * count, 1), inputs.device, rng).sign()
        new = twice.gather(1, changed) + small_step * sign
        if config.categories:  # between its values G has never been asked for anything
            whole = _any_of(changed, config.categories)
            new = torch.where(whole, _perturbed(config, twice, changed, rng), new)
    return twice.scatter(1, changed, new)


def open_codes(config: CodeConfig, step: int) -> list[int]:
    """The codes that are open at `step`, at least a little."""
    codes = range(config.latent_dim)
    return [code for code in codes if reach_of(config, code, step) > 0.0]


def reach_of(config: CodeConfig, code: int, step: int) -> float:
    """How far from 0 a code reaches at `step`, from 0, closed, to 1, open."""
    return at(config.opening[code], step) if code in config.opening else 1.0


def settled_codes(config: CodeConfig, step: int) -> list[int]:
    """The codes that were open when the latest ones began to open; empty until some begin to."""
    since = []
    for code in range(config.latent_dim):
        closed = [when for when, reach in config.opening.get(code, {}).items() if reach == 0.0]
        since.append(max(closed) + 1 if closed else 0)
    latest = max(first for first in since if first <= step)
    return [code for code, first in enumerate(since) if first < latest]


def seen_columns(config: CodeConfig, codes: Sequence[int]) -> list[int]:
    """The columns in which `embed` puts these codes; a circular one has a second, for its sine."""
    sines = enumerate(config.circular, start=config.latent_dim)
    return [*codes, *(column for column, code in sines if code in codes)]


def chords(config: CodeConfig, first: Tensor, second: Tensor) -> Tensor:
    """How far apart two inputs of G, (P, n + k + m) each, are on each circle: (P, k), at most 2."""
    apart, n = second - first, config.latent_dim
    sines = apart[:, n : n + len(config.circular)]
    return torch.hypot(apart[:, config.circular], sines)


def ranges(config: CodeConfig, step: int, device: torch.device) -> Tensor:
    """How far from 0 each input of G reaches at `step`: (n + k + m,), 1 where it is open."""
    codes = [*range(config.latent_dim), *config.circular]  # a circular code has its sine, too
    reach = [reach_of(config, code, step) for code in codes] + [1.0] * config.noise_dim
    return torch.tensor(reach, device=device)


def embed(config: CodeConfig, codes: Tensor) -> Tensor:
    """Codes, with or without noise, (B, n + m) -> what networks see of them, (B, n + k + m).

    The cosine of each of the k circular codes takes its place, and the sine comes after all codes.
    Of a polar pair, x takes the place of the angle and y that of the radius.
    """
    seen, n = codes, config.latent_dim
    for angle, radius in config.polar.items():
        length = (0.5 * (1.0 + codes[:, radius])).clamp(min=0.0).sqrt()
        turn = math.pi * codes[:, angle]
        seen = _put(seen, [angle, radius], length * turn.cos(), length * turn.sin())
    if not config.circular:
        return seen
    angles = math.pi * codes[:, config.circular]
    seen = _put(seen, config.circular, *angles.cos().unbind(1))
    return torch.cat((seen[:, :n], angles.sin(), seen[:, n:]), dim=1)


def unembed(config: CodeConfig, seen: Tensor) -> Tensor:
    """What E gives, (B, n + k) -> codes (B, n). The length of a circular pair plays no part.

    A circular code that is still closed is seen as the centre of its circle: read back, it is the
    angle of some noise. So is the angle of a polar pair near its centre.
    """
    codes, sines = seen[:, : config.latent_dim], seen[:, config.latent_dim :]
    for angle, radius in config.polar.items():
        x, y = seen[:, angle], seen[:, radius]
        square = (x.square() + y.square()).clamp(max=1.0)
        codes = _put(codes, [angle, radius], torch.atan2(y, x) / math.pi, 2.0 * square - 1.0)
    if not config.circular:
        return codes
    angles = torch.atan2(sines, codes[:, config.circular]) / math.pi
    return _put(codes, config.circular, *angles.unbind(1))


def within_range(config: CodeConfig, seen: Tensor, reach: Tensor) -> Tensor:
    """What E gives, (B, n + k), moved to the nearest that G is given: codes within +-reach, or on a
    circle of that radius, or in a disc of it.

    reach: what `ranges` gives, (n + k + m,); the last m are not used.
    """
    reach = reach[: seen.shape[1]]
    within = seen.clamp(-reach, reach)
    for angle, radius in config.polar.items():
        x, y = seen[:, angle], seen[:, radius]
        length = (x.square() + y.square()).clamp(min=1e-12).sqrt()
        shrink = (reach[angle] / length).clamp(max=1.0)
        within = _put(within, [angle, radius], shrink * x, shrink * y)
    if not config.circular:
        return within
    sines, cosines = seen[:, config.latent_dim :], seen[:, config.circular]
    # Near the centre of the circle there is no nearest point, and no bound to the gradient.
    length = (cosines.square() + sines.square()).clamp(min=1e-2).sqrt()
    radii = reach[config.latent_dim :]
    codes = within[:, : config.latent_dim]
    codes = _put(codes, config.circular, *(radii * cosines / length).unbind(1))
    return torch.cat((codes, radii * sines / length), dim=1)


def _put(codes: Tensor, columns: list[int], *values: Tensor) -> Tensor:
    """`codes` with other values, (B,) each, in these columns."""
    parts = list(codes.unbind(1))  # not index_copy, which MPS lacks up to torch 2.7
    for column, value in zip(columns, values, strict=True):
        parts[column] = value
    return torch.stack(parts, dim=1)


def uniform(shape: tuple[int, int], device: torch.device, rng: torch.Generator) -> Tensor:
    """Independent samples of U[-1, 1]."""
    return torch.rand(shape, generator=rng, device=device) * 2.0 - 1.0


def _perturbed(config: CodeConfig, codes: Tensor, changed: Tensor, rng: torch.Generator) -> Tensor:
    """Another value, in [-1, 1], of the code `changed`, (B, 1), of each row of `codes`: (B, 1)."""
    old = codes.gather(1, changed)
    drawn = uniform((len(old), 1), old.device, rng)
    new = drawn
    if config.perturbation == "step":
        size = config.step_min + (config.step_max - config.step_min) * drawn.abs()
        moved = old + size * drawn.sign()
        new = torch.where(moved.abs() > 1.0, old - size * drawn.sign(), moved)
        if config.angles:  # no end to turn back at
            around = (moved + 1.0) % 2.0 - 1.0
            new = torch.where(_any_of(changed, config.angles), around, new)
    for code, kinds in config.categories.items():
        kind = ((old + 1.0) * (0.5 * (kinds - 1))).round().long()
        other = kind + torch.randint(1, kinds, kind.shape, generator=rng, device=old.device)
        new = torch.where(changed == code, _category(other % kinds, kinds), new)
    return new


def _any_of(changed: Tensor, codes: Iterable[int]) -> Tensor:
    return torch.isin(changed, torch.tensor([*codes], device=changed.device))


def _category(kind: Tensor, kinds: int) -> Tensor:
    """Category numbers 0..kinds-1 -> codes, evenly spaced from -1 to 1."""
    return kind * (2.0 / (kinds - 1)) - 1.0
