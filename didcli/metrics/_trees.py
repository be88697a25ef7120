"""Compiled kernels of gradient-boosted trees: imported only when trees are grown.

A tree is binary and of depth 3: the children of node n are 2 n + 1 and 2 n + 2, nodes 0 .. 6 may
split and 7 .. 14 are always leaves.

Many splits of a node are exactly equal: latents that single out the same points do so equally well.
Scikit-learn decides between them by the rounding of its sums, and by a random order of the latents
where even that is equal, and the choice moves DCI by more than its spread over seeds. So the sums
here run over points in the order in which scikit-learn has them, and the random order comes from
its generator: where a comment says "as there", another way would be as right, and would not agree.
The algorithm is that of scikit-learn's `_splitter.pyx` and `_criterion.pyx` (BSD-3-Clause).
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

DEPTH = 3
NODES = 2 ** (DEPTH + 1) - 1
INNER_NODES = 2**DEPTH - 1
DEPTH_FIRST = (0, 1, 3, 4, 2, 5, 6)
"""Inner nodes in the order in which scikit-learn comes to them."""
CLOSEST = np.float32(1e-7)
"""Distance up to which neighbouring codes are not split."""
PURE = np.finfo(np.float64).eps
"""Impurity up to which nodes are leaves."""
SMALLEST_CURVATURE = 1e-150
"""Curvature below which leaves stay at 0."""


def compiled(function: Kernel) -> Kernel:
    """Compile to machine code that is kept on disk, so that a user waits for it once.

    It runs without Python's lock. Where no cache folder can be written to, each process compiles.
    """
    try:
        kernel = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba found no place for its cache
        kernel = numba.njit(nogil=True)(function)
    return cast("Kernel", kernel)


@compiled
def softmax_terms(
    raw: NDArray[np.float64],
    start: int,
    stop: int,
    exponentials: NDArray[np.float64],
    total: NDArray[np.float64],
) -> None:
    """exp(raw - largest of the point) and its sum over classes, for points start .. stop - 1.

    raw, exponentials: (K, N).  total: (N,).
    """
    largest = raw[0, start:stop].copy()
    for k in range(1, raw.shape[0]):
        for i in range(start, stop):
            largest[i - start] = max(largest[i - start], raw[k, i])
    total[start:stop] = 0.0
    for k in range(raw.shape[0]):
        for i in range(start, stop):
            exponentials[k, i] = np.exp(raw[k, i] - largest[i - start])
            total[i] += exponentials[k, i]


@compiled
def binary_residuals(raw: NDArray[np.float64], member: NDArray[np.bool_]) -> NDArray[np.float64]:
    """member - 1 / (1 + exp(-raw)), (N,), in scikit-learn's form, which does not overflow."""
    residual = np.empty(len(raw))
    for i in range(len(raw)):
        y = 1.0 if member[i] else 0.0
        if raw[i] > -37:
            e = np.exp(-raw[i])
            residual[i] = -(((1 - y) - y * e) / (1 + e))
        else:
            residual[i] = y - np.exp(raw[i])
    return residual


@compiled
def _random_below(bound: int, state: NDArray[np.uint32]) -> int:
    """A number of 0 .. bound - 1 by Marsaglia's xorshift of 32 bits, as in scikit-learn."""
    x = np.int64(state[0])  # numba computes in 64 bits anyway: cut off what leaves 32
    x ^= (x << 13) & 0xFFFFFFFF
    x ^= x >> 17
    x ^= (x << 5) & 0xFFFFFFFF
    state[0] = x
    return int(x & 0x7FFFFFFF) % bound


@compiled
def _best_position(
    values: NDArray[np.float32],
    points: NDArray[np.uint32],
    residual: NDArray[np.float64],
    total: float,
    reciprocals: NDArray[np.float64],
    best_gain: float,
) -> tuple[float, int]:
    """The gain of the best split along one latent that is above `best_gain`, and its left count.

    The gain is S_left^2 / n_left + S_right^2 / n_right for sums S of residuals: the reduction of
    squared error, less what the node's splits have in common. (best_gain, 0) if none is better.
    values: (N,) the latent.  points: the node's, by ascending value.
    """
    count = len(points)
    best_left = 0
    # Most positions are ruled out without a division, by a gain that may err in its last digits.
    worth_a_look = best_gain * (1 - 1e-12)
    left_sum = 0.0
    summed = 0
    value, addend = values[points[0]], residual[points[0]]
    for left in range(1, count):
        before = value
        left_sum += addend
        point = points[left]
        value, addend = values[point], residual[point]
        if value <= before + CLOSEST:
            continue
        if left - summed > count - left:  # as there: equal codes are summed the shorter way
            left_sum = total
            for position in range(count - 1, left - 1, -1):
                left_sum -= residual[points[position]]
        summed = left
        right_sum = total - left_sum
        left_square, right_square = left_sum * left_sum, right_sum * right_sum
        rough = left_square * reciprocals[left] + right_square * reciprocals[count - left]
        if rough >= worth_a_look:
            gain = left_square / left + right_square / (count - left)
            if gain > best_gain:
                best_gain = gain
                best_left = left
                worth_a_look = gain * (1 - 1e-12)
    return best_gain, best_left


@compiled
def _best_split(
    codes: NDArray[np.float32],
    order: NDArray[np.uint32],
    residual: NDArray[np.float64],
    total: float,
    reciprocals: NDArray[np.float64],
    latents: NDArray[np.int64],
    constants: NDArray[np.int64],
    known: int,
    state: NDArray[np.uint32],
) -> tuple[int, int, int, int]:
    """Try the latents in random order; a later one has to be better, not equal.

    codes: (D, N).  order: (D, n), each row the node's points by ascending code.
    latents: (D,) a permutation, shuffled further.  constants: (D,). In both, the first `known` are
    constant in the parent.
    Returns the latent (-1 if none can be split), its left count, the number of latents known to be
    constant by now, and the latent sorted last (-1 if none was).
    """
    best_gain, best_latent, best_left = -1.0, -1, 0
    last_sorted = -1
    undrawn = len(latents)
    constant_drawn = 0  # of those known before to be constant
    found = 0  # to be constant in this node
    while undrawn > known + found:
        # As there: [0, known) are constant, [known, known + found) were found to be, and up to
        # `undrawn` follow those that have not been drawn.
        drawn = constant_drawn + _random_below(undrawn - found - constant_drawn, state)
        if drawn < known:
            latents[constant_drawn], latents[drawn] = latents[drawn], latents[constant_drawn]
            constant_drawn += 1
            continue
        drawn += found
        latent = latents[drawn]
        points = order[latent]
        values = codes[latent]
        if values[points[-1]] > values[points[0]]:  # sorting equal codes moves no point
            last_sorted = latent
        if values[points[-1]] <= values[points[0]] + CLOSEST:
            target = known + found
            latents[drawn], latents[target] = latents[target], latents[drawn]
            found += 1
            continue
        undrawn -= 1
        latents[undrawn], latents[drawn] = latents[drawn], latents[undrawn]
        gain, left = _best_position(values, points, residual, total, reciprocals, best_gain)
        if left > 0:
            best_gain, best_latent, best_left = gain, latent, left
    latents[:known] = constants[:known]
    constants[known : known + found] = latents[known : known + found]
    return best_latent, best_left, known + found, last_sorted


@compiled
def _partition(
    order: NDArray[np.uint32],
    into: NDArray[np.uint32],
    left_count: int,
    goes_left: NDArray[np.uint8],
) -> None:
    """Copy each row (D, n) with the points that go left first, the order otherwise kept."""
    for latent in range(order.shape[0]):
        source = order[latent]
        target = into[latent]
        left = 0
        right = left_count
        for point in source:
            side = goes_left[point]
            target[left if side else right] = point
            left += side
            right += 1 - side


@compiled
def _arrange(samples: NDArray[np.uint32], goes_left: NDArray[np.uint8]) -> None:
    """Swap the points that go left to the front, as scikit-learn does."""
    left, right = 0, len(samples)
    while left < right:
        if goes_left[samples[left]]:
            left += 1
        else:
            right -= 1
            samples[left], samples[right] = samples[right], samples[left]


@compiled
def _sums(residual: NDArray[np.float64], points: NDArray[np.uint32]) -> tuple[float, float]:
    """Sums of the residuals and of their squares, in the order of the points."""
    total = 0.0
    squares = 0.0
    for point in points:
        total += residual[point]
        squares += residual[point] * residual[point]
    return total, squares


@compiled
def _impurity(total: float, squares: float, count: int) -> float:
    mean = total / count
    return squares / count - mean * mean


@compiled
def _child_impurities(
    residual: NDArray[np.float64],
    samples: NDArray[np.uint32],
    left_count: int,
    total: float,
    squares: float,
) -> tuple[float, float]:
    """Left and right impurity; right sums are the node's less the left ones, as in scikit-learn."""
    count = len(samples)
    left_sum, left_squares = _sums(residual, samples[:left_count])
    if left_count > count - left_count:
        left_sum = total
        for position in range(count - 1, left_count - 1, -1):
            left_sum -= residual[samples[position]]
    return (
        _impurity(left_sum, left_squares, left_count),
        _impurity(total - left_sum, squares - left_squares, count - left_count),
    )


@compiled
def _grow(
    codes: NDArray[np.float32],
    order: NDArray[np.uint32],
    work: NDArray[np.uint32],
    reciprocals: NDArray[np.float64],
    residual: NDArray[np.float64],
    seed: int,
    importance: NDArray[np.float64],
    split_latent: NDArray[np.int64],
    split_value: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """Fit a regression tree to the residuals, by exact search for the best split of each node.

    codes: (D, N).  order: (D, N) points by ascending code.  work: (DEPTH - 1, D, N), scratch.
    reciprocals: (N + 1,) of 0 .. N, the first unused.  residual: (N,).
    Writes split_latent (INNER_NODES,), -1 at leaves, and split_value; adds each split's reduction
    of squared error to importance (D,). Returns the leaf of each point (N,).
    """
    count = codes.shape[1]
    state = np.array([seed], dtype=np.uint32)
    latents = np.arange(codes.shape[0])
    constants = np.empty_like(latents)
    known_constant = np.zeros(NODES, dtype=np.int64)
    starts = np.zeros(NODES, dtype=np.int64)
    ends = np.zeros(NODES, dtype=np.int64)
    impurities = np.zeros(NODES)
    samples = np.arange(count).astype(np.uint32)
    goes_left = np.empty(count, dtype=np.uint8)
    leaf = np.zeros(count, dtype=np.uint8)
    split_latent[:] = -1
    ends[0] = count
    total, squares = _sums(residual, samples)
    impurities[0] = _impurity(total, squares, count)

    for node in DEPTH_FIRST:
        start, end = starts[node], ends[node]
        if end - start < 2 or impurities[node] <= PURE:
            continue
        depth = 0 if node == 0 else (1 if node < 3 else 2)
        sorted_points = (order if depth == 0 else work[depth - 1])[:, start:end]
        members = samples[start:end]
        total, squares = _sums(residual, members)
        latent, left_count, known, last_sorted = _best_split(
            codes,
            sorted_points,
            residual,
            total,
            reciprocals,
            latents,
            constants,
            known_constant[node],
            state,
        )
        if last_sorted >= 0:
            members[:] = sorted_points[last_sorted]  # as there, where each trial sorts them anew
        if latent < 0:
            continue
        before = codes[latent, sorted_points[latent, left_count - 1]]
        after = codes[latent, sorted_points[latent, left_count]]
        split_latent[node] = latent
        split_value[node] = before / 2.0 + after / 2.0

        left, right = 2 * node + 1, 2 * node + 2
        starts[left], ends[left] = start, start + left_count
        starts[right], ends[right] = start + left_count, end
        known_constant[left] = known_constant[right] = known
        for position in range(end - start):
            point = sorted_points[latent, position]
            goes_left[point] = position < left_count
            leaf[point] = left if position < left_count else right
        _arrange(members, goes_left)
        impurities[left], impurities[right] = _child_impurities(
            residual, members, left_count, total, squares
        )
        importance[latent] += (
            (end - start) * impurities[node]
            - left_count * impurities[left]
            - (end - start - left_count) * impurities[right]
        )
        if depth < DEPTH - 1:  # leaves need no order
            _partition(sorted_points, work[depth][:, start:end], left_count, goes_left)
    return leaf


@compiled
def _pairwise_sum(terms: NDArray[np.float64]) -> float:
    """The sum of all terms, added in the order in which numpy adds up a contiguous array."""
    count = len(terms)
    if count < 8:
        few = 0.0
        for term in terms:
            few += term
        return few
    if count > 128:
        half = count // 2
        half -= half % 8
        halves: float = _pairwise_sum(terms[:half]) + _pairwise_sum(terms[half:])
        return halves
    lanes = terms[:8].copy()
    whole = count - count % 8
    for start in range(8, whole, 8):
        for lane in range(8):
            lanes[lane] += terms[start + lane]
    total: float = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + (
        (lanes[4] + lanes[5]) + (lanes[6] + lanes[7])
    )
    for position in range(whole, count):
        total += terms[position]
    return total


@compiled
def _leaf_values(
    residual: NDArray[np.float64],
    member: NDArray[np.bool_],
    leaf: NDArray[np.uint8],
    scale: float,
) -> NDArray[np.float64]:
    """One Newton step in each leaf: scale * mean residual / mean p (1 - p), (NODES,)."""
    counts = np.zeros(NODES, dtype=np.int64)
    for node in leaf:
        counts[node] += 1
    ends = np.cumsum(counts)
    filled = ends - counts
    slopes = np.empty(len(residual))
    curvatures = np.empty(len(residual))
    for i in range(len(residual)):
        probability = member[i] - residual[i]
        position = filled[leaf[i]]
        slopes[position] = residual[i]
        curvatures[position] = probability * (1.0 - probability)
        filled[leaf[i]] += 1
    values = np.zeros(NODES)
    for node in range(NODES):
        if counts[node] == 0:
            continue
        inside = slice(ends[node] - counts[node], ends[node])
        slope = _pairwise_sum(slopes[inside]) / counts[node] * scale
        curvature = _pairwise_sum(curvatures[inside]) / counts[node]
        if abs(curvature) >= SMALLEST_CURVATURE:
            values[node] = slope / curvature
    return values


@compiled
def add_tree(
    codes: NDArray[np.float32],
    order: NDArray[np.uint32],
    work: NDArray[np.uint32],
    reciprocals: NDArray[np.float64],
    residual: NDArray[np.float64],
    member: NDArray[np.bool_],
    seed: int,
    newton_scale: float,
    learning_rate: float,
    raw: NDArray[np.float64],
    test_codes: NDArray[np.float32],
    test_raw: NDArray[np.float64],
    importance: NDArray[np.float64],
) -> None:
    """Grow a tree on the residuals of one class and add its steps to the raw predictions.

    codes, order, work, reciprocals: as for `_grow`.  residual, member, raw: (N,).
    test_codes: (D, M).  test_raw: (M,).  importance: (D,), added to.
    """
    split_latent = np.empty(INNER_NODES, dtype=np.int64)
    split_value = np.empty(INNER_NODES)
    leaf = _grow(
        codes, order, work, reciprocals, residual, seed, importance, split_latent, split_value
    )
    step = learning_rate * _leaf_values(residual, member, leaf, newton_scale)
    for i in range(len(raw)):
        raw[i] += step[leaf[i]]
    for i in range(len(test_raw)):
        node = 0
        while node < INNER_NODES and split_latent[node] >= 0:
            goes_right = test_codes[split_latent[node], i] > split_value[node]
            node = 2 * node + 1 + int(goes_right)
        test_raw[i] += step[node]
