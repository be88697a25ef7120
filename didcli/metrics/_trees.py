"""Compiled kernels of gradient-boosted trees: imported only when trees are grown.

A tree is complete and binary, of depth 3: the children of node n are 2 n + 1 and 2 n + 2, so nodes
0 .. 6 may split and 7 .. 14 are always leaves. Everything is for one class against the rest; the
booster (`_boosting`) calls it for the classes of a stage from several threads.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

DEPTH = 3
NODES = 2 ** (DEPTH + 1) - 1
INNER_NODES = 2**DEPTH - 1
FEATURE_THRESHOLD = np.float32(1e-7)
"""Neighbouring values closer than this are not split, as in scikit-learn's trees."""
PURE = np.finfo(np.float64).eps
"""Nodes of no more impurity than this are leaves, as in scikit-learn's trees."""
SMALLEST_CURVATURE = 1e-150
"""Leaves of less stay at 0, as in scikit-learn's boosting."""


def compiled(function: Kernel) -> Kernel:
    """Compile to machine code that is kept on disk, so that a user waits for it once.

    It runs without Python's lock. Where no cache folder can be written to, each process compiles.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # numba found no place for its cache
        return numba.njit(nogil=True)(function)  # type: ignore[no-any-return]


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
def _next_random(state: NDArray[np.uint64]) -> np.uint64:
    """SplitMix64, Steele et al. 2014."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@compiled
def _shuffle(items: NDArray[np.int64], state: NDArray[np.uint64]) -> None:
    for last in range(len(items) - 1, 0, -1):
        other = int(_next_random(state) % np.uint64(last + 1))
        items[last], items[other] = items[other], items[last]


@compiled
def _best_split(
    codes: NDArray[np.float32],
    order: NDArray[np.int32],
    start: int,
    end: int,
    residual: NDArray[np.float64],
    total: float,
    latents: NDArray[np.int64],
) -> tuple[int, int]:
    """The latent and the number of points to the left that reduce squared error most.

    Latents are tried in the order given and have to be better, not equal, to replace the one
    before: a random order breaks ties at random. (-1, 0) if no two values differ.
    codes: (D, N).  order: (D, N), columns start .. end - 1 the node's points by ascending code.
    """
    count = end - start
    best_gain = -1.0
    best_latent = -1
    best_left = 0
    for latent in latents:
        values = codes[latent]
        sorted_points = order[latent, start:end]
        left_sum = 0.0
        summed = 0
        for left in range(1, count):
            left_sum += residual[sorted_points[left - 1]]
            before = values[sorted_points[left - 1]]
            if values[sorted_points[left]] <= before + FEATURE_THRESHOLD:
                continue
            if left - summed > count - left:  # scikit-learn sums the shorter way
                left_sum = total
                for other in range(count - 1, left - 1, -1):
                    left_sum -= residual[sorted_points[other]]
            summed = left
            right_sum = total - left_sum
            gain = left_sum * left_sum / left + right_sum * right_sum / (count - left)
            if gain > best_gain:
                best_gain = gain
                best_latent = latent
                best_left = left
    return best_latent, best_left


@compiled
def _partition(
    order: NDArray[np.int32],
    into: NDArray[np.int32],
    start: int,
    end: int,
    left_count: int,
    goes_left: NDArray[np.uint8],
) -> None:
    """Copy columns start .. end - 1 of every row, left points first, order otherwise kept."""
    for latent in range(order.shape[0]):
        source = order[latent]
        target = into[latent]
        left = start
        right = start + left_count
        for position in range(start, end):
            point = source[position]
            side = goes_left[point]
            target[left if side else right] = point
            left += side
            right += 1 - side


@compiled
def _arrange(
    samples: NDArray[np.int32],
    last_sorted: NDArray[np.int32],
    goes_left: NDArray[np.uint8],
) -> None:
    """Write the points of a node to `samples`, left ones first, in the order scikit-learn has them.

    There a node's points are left sorted by the latent tried last, then swapped to their sides. The
    order matters, although only sums are taken: their rounding decides between equal splits that
    cut off the same points on the right, and with a sum over one latent's own order that latent
    would err less than the others and win, or lose, too often.
    """
    samples[:] = last_sorted
    left, right = 0, len(samples)
    while left < right:
        if goes_left[samples[left]]:
            left += 1
        else:
            right -= 1
            samples[left], samples[right] = samples[right], samples[left]


@compiled
def _sum_and_impurity(
    residual: NDArray[np.float64], points: NDArray[np.int32]
) -> tuple[float, float]:
    """The sum, and the mean squared deviation computed as scikit-learn does it."""
    total = 0.0
    squares = 0.0
    for point in points:
        total += residual[point]
        squares += residual[point] * residual[point]
    mean = total / len(points)
    return total, squares / len(points) - mean * mean


@compiled
def _grow(
    codes: NDArray[np.float32],
    order: NDArray[np.int32],
    work: NDArray[np.int32],
    residual: NDArray[np.float64],
    state: NDArray[np.uint64],
    importance: NDArray[np.float64],
    split_latent: NDArray[np.int64],
    split_value: NDArray[np.float64],
    leaf: NDArray[np.uint8],
) -> None:
    """Fit a regression tree to the residuals, by exact search for the best split of each node.

    codes: (D, N).  order: (D, N) points by ascending code, kept.  work: (DEPTH, D, N) and
    goes_left of `_partition` are scratch.  residual: (N,).
    Writes split_latent (INNER_NODES,), -1 at leaves; split_value; the leaf of each point (N,); and
    adds each split's reduction of squared error to importance (D,).
    """
    points = codes.shape[1]
    latents = np.arange(codes.shape[0])
    goes_left = np.empty(points, dtype=np.uint8)
    starts = np.zeros(NODES, dtype=np.int64)
    ends = np.zeros(NODES, dtype=np.int64)
    totals = np.zeros(NODES)
    impurities = np.zeros(NODES)
    split_latent[:] = -1
    leaf[:] = 0
    ends[0] = points
    samples = np.arange(points).astype(np.int32)
    totals[0], impurities[0] = _sum_and_impurity(residual, samples)

    for node in range(INNER_NODES):
        start, end = starts[node], ends[node]
        if end - start < 2 or impurities[node] <= PURE:
            continue
        depth = 0 if node == 0 else (1 if node < 3 else 2)
        sorted_points = order if depth == 0 else work[depth - 1]
        _shuffle(latents, state)
        latent, left_count = _best_split(
            codes, sorted_points, start, end, residual, totals[node], latents
        )
        if latent < 0:
            continue
        middle = start + left_count
        before = codes[latent, sorted_points[latent, middle - 1]]
        after = codes[latent, sorted_points[latent, middle]]
        split_latent[node] = latent
        split_value[node] = before / 2.0 + after / 2.0

        left, right = 2 * node + 1, 2 * node + 2
        starts[left], ends[left] = start, middle
        starts[right], ends[right] = middle, end
        for child in (left, right):
            for point in sorted_points[latent, starts[child] : ends[child]]:
                leaf[point] = child
                goes_left[point] = child == left
        _arrange(samples[start:end], sorted_points[latents[-1], start:end], goes_left)
        remaining = (end - start) * impurities[node]
        for child in (left, right):
            members = samples[starts[child] : ends[child]]
            totals[child], impurities[child] = _sum_and_impurity(residual, members)
            remaining -= len(members) * impurities[child]
        importance[latent] += remaining
        if depth < DEPTH - 1:  # leaves need no order
            _partition(sorted_points, work[depth], start, end, left_count, goes_left)


@compiled
def _leaf_values(
    residual: NDArray[np.float64],
    member: NDArray[np.bool_],
    leaf: NDArray[np.uint8],
    scale: float,
) -> NDArray[np.float64]:
    """One Newton step in each leaf: scale * sum of residuals / sum of p (1 - p)."""
    slope = np.zeros(NODES)
    curvature = np.zeros(NODES)
    for i in range(len(residual)):
        probability = member[i] - residual[i]
        slope[leaf[i]] += residual[i]
        curvature[leaf[i]] += probability * (1.0 - probability)
    values = np.zeros(NODES)
    for node in range(NODES):
        if abs(curvature[node]) >= SMALLEST_CURVATURE:
            values[node] = scale * slope[node] / curvature[node]
    return values


@compiled
def add_tree(
    codes: NDArray[np.float32],
    order: NDArray[np.int32],
    work: NDArray[np.int32],
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

    codes: (D, N).  order: (D, N).  work: (DEPTH - 1, D, N).  residual, member, raw: (N,).
    test_codes: (D, M).  test_raw: (M,).  importance: (D,), added to.
    """
    state = np.array([np.uint64(seed)])
    split_latent = np.empty(INNER_NODES, dtype=np.int64)
    split_value = np.empty(INNER_NODES)
    leaf = np.empty(codes.shape[1], dtype=np.uint8)
    _grow(codes, order, work, residual, state, importance, split_latent, split_value, leaf)
    step = learning_rate * _leaf_values(residual, member, leaf, newton_scale)
    for i in range(len(raw)):
        raw[i] += step[leaf[i]]
    for i in range(len(test_raw)):
        node = 0
        while node < INNER_NODES and split_latent[node] >= 0:
            goes_right = test_codes[split_latent[node], i] > split_value[node]
            node = 2 * node + 1 + int(goes_right)
        test_raw[i] += step[node]
