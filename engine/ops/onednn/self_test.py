"""Whether a loaded oneDNN means by its numbers what the binding means: tiny primitives with known
results, run once per process before the engine is used.

The values of enumerations, the places of arguments and the order of parameters are no part of what
the loader checks; a library that has others would compute something else without a word.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from caffepy.engine.core.errors import DeviceError
from caffepy.engine.ops.onednn.binding import (
    Algorithm,
    Arg,
    Descriptor,
    NormalisationFlag,
    Pass,
    Primitive,
    aligned,
    describe,
    reorder,
)
from caffepy.engine.ops.onednn.execution import Execution, Scratchpad
from caffepy.engine.ops.onednn.library import available, library, refused
from caffepy.engine.ops.onednn.post_ops import PostOps

TOLERANCE = 1e-4  # of functions that the library approximates; other functions differ by far more
Arrays = Mapping[Any, np.ndarray]  # by place
Case = tuple[str, Primitive, Arrays, Arrays]  # name, primitive, what it reads, what it shall write

X = np.array([-1.5, -0.5, 0.5, 2], np.float32)
Y = np.array([2, -0.5, 4, -3], np.float32)
IMAGE = np.array([[3, 1, 4, 1], [5, 9, 2, 6], [5, 3, 5, 8], [9, 7, 9, 3]], np.float32)
EPS = 1e-3


def usable() -> str | None:
    """Why oneDNN cannot be used in this process; None where it can. Loads and tests the library."""
    global _result  # noqa: PLW0603 - one library per process
    missing = available()
    if missing is not None:
        return missing
    with _testing:
        if _result is None or _result[0] != library().path:
            # a thread of its own has its own number of threads, and takes them along when it ends
            with ThreadPoolExecutor(1) as executor:
                _result = library().path, executor.submit(_run_all).result()
        return _result[1]


_result: tuple[str, str | None] | None = None
_testing = threading.Lock()


def _run_all() -> str | None:
    """What is wrong with the library. Leaves the calling thread with one thread to compute with."""
    with contextlib.suppress(DeviceError):  # of builds that cannot be told
        library().set_threads(1)
    scratchpad = Scratchpad()
    try:
        for name, primitive, given, wanted in _cases():
            found = {place: aligned(4 * array.size) for place, array in wanted.items()}
            for place in found.keys() & given.keys():
                found[place][:] = given[place].reshape(-1)
            arrays = {**given, **found}
            run = Execution(primitive, scratchpad, *arrays)
            run(*(np.ascontiguousarray(array, np.float32) for array in arrays.values()))
            for place, array in wanted.items():
                if not np.allclose(found[place], array.reshape(-1), TOLERANCE, TOLERANCE):
                    expected = f"its self-test's {name} to give {_told(array)}"
                    return refused(library().path, expected, _told(found[place]))
    except DeviceError as error:
        return refused(library().path, "its self-test to run", f"'{error}'")
    return None


def _told(array: np.ndarray) -> str:
    return " ".join(f"{number:.6g}" for number in array.reshape(-1).tolist())


def _cases() -> Iterator[Case]:
    yield from _functions()
    yield from _pairs()
    yield from _chains()
    yield from _slopes()
    yield from _convolutions()
    yield from _products()
    yield from _poolings()
    yield from _lrns()
    yield from _normalisations()
    yield from _copies()


def _functions() -> Iterator[Case]:
    """Functions of one element, and their gradients from what the library takes them from."""
    flat = Descriptor.plain(X.shape)
    sigmoid = 1 / (1 + np.exp(-X))
    share = np.tanh(np.log1p(np.exp(X)))  # of x in Mish
    for algorithm, alpha, beta, y, slope in (
        (Algorithm.RELU, 0.25, 0.0, np.where(X > 0, X, X / 4), np.where(X > 0, 1, 0.25)),
        (Algorithm.ELU, 0.5, 0.0, np.where(X > 0, X, np.expm1(X) / 2),
         np.where(X > 0, 1, np.exp(X) / 2)),
        (Algorithm.ABSOLUTE, 0.0, 0.0, abs(X), np.sign(X)),
        (Algorithm.LINEAR, 2.0, 3.0, 2 * X + 3, 2 + 0 * X),
        (Algorithm.SWISH, 1.0, 0.0, X * sigmoid, sigmoid * (1 + X * (1 - sigmoid))),
        (Algorithm.MISH, 0.0, 0.0, X * share, share + X * sigmoid * (1 - share**2)),
        (Algorithm.POWER, 2.0, 3.0, 2 * X**3, 6 * X**2),
        (Algorithm.TANH, 0.0, 0.0, np.tanh(X), 1 - np.tanh(X) ** 2),
        (Algorithm.LOGISTIC, 0.0, 0.0, sigmoid, sigmoid * (1 - sigmoid)),
    ):  # fmt: skip
        numbers = alpha, beta
        forward = describe(
            "eltwise_forward", Pass.FORWARD_TRAINING, algorithm, flat, flat, *numbers
        )
        yield algorithm.name, forward, {Arg.SOURCE: X}, {Arg.TARGET: y}
        backward = describe(
            "eltwise_backward", algorithm, flat, flat, flat, *numbers, forward=forward
        )
        from_output = algorithm in (Algorithm.TANH, Algorithm.LOGISTIC)
        given = {Arg.TARGET: y} if from_output else {Arg.SOURCE: X}
        given = {**given, Arg.TARGET_DIFF: Y}
        yield f"gradient of {algorithm.name}", backward, given, {Arg.SOURCE_DIFF: Y * slope}


def _pairs() -> Iterator[Case]:
    """Functions of two elements."""
    flat = Descriptor.plain(X.shape)
    for algorithm, result in (
        (Algorithm.BINARY_ADD, X + Y),
        (Algorithm.BINARY_SUBTRACT, X - Y),
        (Algorithm.BINARY_MUL, X * Y),
        (Algorithm.BINARY_DIVIDE, X / Y),
        (Algorithm.BINARY_MAX, np.maximum(X, Y)),
        (Algorithm.BINARY_LESS, X < Y),
    ):
        primitive = describe("binary", algorithm, flat, flat, flat)
        yield algorithm.name, primitive, {Arg.SOURCE: X, Arg.SOURCE_1: Y}, {Arg.TARGET: result}


def _chains() -> Iterator[Case]:
    """Functions of two elements with others behind them."""
    flat = Descriptor.plain(X.shape)
    after = PostOps()
    after.root()
    after.combine(Algorithm.BINARY_ADD, flat)
    after.add_target(0.5)
    primitive = describe(
        "binary", Algorithm.BINARY_MUL, flat, flat, flat, attributes=after.attributes()
    )
    given = {Arg.SOURCE: X, Arg.SOURCE_1: X, Arg.TARGET: Y, after.places[0]: Y}
    name = "BINARY_MUL, SQUARE_ROOT, BINARY_ADD and sum"
    yield name, primitive, given, {Arg.TARGET: abs(X) + 1.5 * Y}


def _slopes() -> Iterator[Case]:
    """PReLU of two samples with two channels."""
    x, a = Descriptor.plain((2, 2)), Descriptor.plain((1, 2))
    slopes = np.array([0.5, 0.25], np.float32)
    forward = describe("prelu_forward", Pass.FORWARD_TRAINING, x, a, x)
    factors = np.where(X > 0, 1, np.tile(slopes, 2))
    given = {Arg.SOURCE: X, Arg.WEIGHTS: slopes}
    yield "PReLU", forward, given, {Arg.TARGET: X * factors}
    backward = describe("prelu_backward", x, a, x, a, x, forward=forward)
    wanted = {
        Arg.SOURCE_DIFF: Y * factors,
        Arg.WEIGHTS_DIFF: (Y * np.minimum(X, 0)).reshape(2, 2).sum(0),
    }
    yield "gradient of PReLU", backward, {**given, Arg.TARGET_DIFF: Y}, wanted


def _convolutions() -> Iterator[Case]:
    """A kernel of 2 x 2 in steps of 2 over an image."""
    x, w, b, y = map(Descriptor.plain, ((1, 1, 4, 4), (1, 1, 2, 2), (1,), (1, 1, 2, 2)))
    window = (2, 2), (0, 0), (0, 0), (0, 0)
    direct = Algorithm.CONVOLUTION_DIRECT
    windows = IMAGE.reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(4, 4)
    bias = np.array([-8], np.float32)
    sums = windows @ X + bias
    given = {Arg.SOURCE: IMAGE, Arg.WEIGHTS: X, Arg.BIAS: bias}
    after, one = PostOps(), Descriptor.plain((1, 1, 1, 1))
    after.combine(Algorithm.BINARY_MUL, one)
    after.combine(Algorithm.BINARY_ADD, y)
    after.rectify()
    rectified = describe(
        "convolution_forward", Pass.FORWARD_TRAINING, direct, x, w, b, y, *window,
        attributes=after.attributes(),
    )  # fmt: skip
    operands = np.full(1, 2, np.float32), Y, np.full(1, 0.5, np.float32)
    doubled = 2 * sums + Y
    wanted = {Arg.TARGET: np.where(doubled > 0, doubled, doubled / 2)}
    given_too = dict(zip(after.places, operands, strict=True))
    yield "convolution, scale, sum and ReLU", rectified, {**given, **given_too}, wanted
    forward = describe("convolution_forward", Pass.FORWARD_TRAINING, direct, x, w, b, y, *window)
    yield "convolution", forward, given, {Arg.TARGET: sums}
    # Not run: making the code for it would take 30 ms.
    describe("convolution_backward_data", direct, x, w, y, *window, forward=forward)
    backward = describe(
        "convolution_backward_weights", direct, x, w, b, y, *window, forward=forward
    )
    wanted = {Arg.WEIGHTS_DIFF: Y @ windows, Arg.BIAS_DIFF: Y.sum(keepdims=True)}
    given = {Arg.SOURCE: IMAGE, Arg.TARGET_DIFF: Y}
    yield "convolution's gradient of weights", backward, given, wanted


def _products() -> Iterator[Case]:
    """Matrix products with weights: two samples of two numbers, one number out."""
    x, w, b, y = map(Descriptor.plain, ((2, 2), (1, 2), (1,), (2, 1)))
    weights, bias, dy = Y[:2], Y[2:3], X[:2]
    forward = describe("inner_product_forward", Pass.FORWARD_TRAINING, x, w, b, y)
    given = {Arg.SOURCE: X, Arg.WEIGHTS: weights, Arg.BIAS: bias}
    yield "product", forward, given, {Arg.TARGET: X.reshape(2, 2) @ weights + bias}
    describe("inner_product_backward_data", x, w, y, forward=forward)  # not run, likewise
    backward = describe("inner_product_backward_weights", x, w, b, y, forward=forward)
    wanted = {Arg.WEIGHTS_DIFF: dy @ X.reshape(2, 2), Arg.BIAS_DIFF: dy.sum(keepdims=True)}
    given = {Arg.SOURCE: X, Arg.TARGET_DIFF: dy}
    yield "product's gradient of weights", backward, given, wanted


def _poolings() -> Iterator[Case]:
    """Windows of 2 x 2 in steps of 2, whose padding shows how averages count it."""
    x = Descriptor.plain((1, 1, 4, 4))
    for algorithm, pad, result in (
        (Algorithm.POOLING_MAX, 0, [9, 6, 9, 9]),
        (Algorithm.POOLING_AVERAGE_WITHOUT_PADDING, 1, [3, 2.5, 1, 5, 4.75, 7, 9, 8, 3]),
        (Algorithm.POOLING_AVERAGE_WITH_PADDING, 1,
         [0.75, 1.25, 0.25, 2.5, 4.75, 3.5, 2.25, 4, 0.75]),
    ):  # fmt: skip
        out = 3 if pad else 2
        y = Descriptor.plain((1, 1, out, out))
        window = (2, 2), (2, 2), (0, 0), (pad, pad), (pad, pad)
        kind = Pass.FORWARD_INFERENCE
        forward = describe("pooling_forward", kind, algorithm, x, y, *window)
        wanted = {Arg.TARGET: np.array(result, np.float32)}
        yield algorithm.name, forward, {Arg.SOURCE: IMAGE}, wanted


def _lrns() -> Iterator[Case]:
    """Windows of 3 channels, and of 3 x 3 pixels."""
    squares = IMAGE**2
    near = np.convolve(squares.reshape(-1), np.ones(3), "same")
    for algorithm, shape, sums, size in (
        (Algorithm.LRN_ACROSS_CHANNELS, (1, 16, 1, 1), near, 3),
        (Algorithm.LRN_WITHIN_CHANNEL, (1, 1, 4, 4), _neighbours(squares), 9),
    ):
        x = Descriptor.plain(shape)
        numbers = 3, 0.5, 1.0, 2.0  # size, alpha, beta, k
        forward = describe("lrn_forward", Pass.FORWARD_INFERENCE, algorithm, x, x, *numbers)
        result = IMAGE.reshape(-1) / (2 + 0.5 / size * sums.reshape(-1))
        yield algorithm.name, forward, {Arg.SOURCE: IMAGE}, {Arg.TARGET: result}


def _neighbours(values: np.ndarray) -> np.ndarray:
    """The sum over each element's 3 x 3 window."""
    padded = np.pad(values, 1)
    windows = [padded[i : i + 4, j : j + 4] for i in range(3) for j in range(3)]
    total: np.ndarray = np.sum(windows, axis=0)
    return total


def _normalisations() -> Iterator[Case]:
    """One channel of four numbers: with statistics of its own, and with given ones."""
    x = Descriptor.plain((4, 1))
    factor, bias = np.array([2], np.float32), np.array([0.5], np.float32)
    flags = NormalisationFlag.SCALE | NormalisationFlag.SHIFT
    mean, variance = X.mean(keepdims=True), X.var(keepdims=True)
    normal = (X - mean) / np.sqrt(variance + EPS)
    given = {Arg.SOURCE: X, Arg.SCALE: factor, Arg.SHIFT: bias}
    forward = describe("batch_normalization_forward", Pass.FORWARD_TRAINING, x, x, EPS, flags)
    wanted = {Arg.TARGET: 2 * normal + 0.5, Arg.MEAN: mean, Arg.VARIANCE: variance}
    yield "normalisation", forward, given, wanted
    backward = describe(
        "batch_normalization_backward", Pass.BACKWARD, x, x, x, EPS, flags, forward=forward
    )
    statistics = {Arg.MEAN: mean, Arg.VARIANCE: variance}
    parts = Y - Y.mean() - normal * (Y * normal).mean()
    wanted = {
        Arg.SOURCE_DIFF: 2 * parts / np.sqrt(variance + EPS),
        Arg.SCALE_DIFF: (Y * normal).sum(keepdims=True),
        Arg.SHIFT_DIFF: Y.sum(keepdims=True),
    }
    given = {Arg.SOURCE: X, Arg.TARGET_DIFF: Y, Arg.SCALE: factor, **statistics}
    yield "gradient of normalisation", backward, given, wanted
    flags = NormalisationFlag.RELU
    forward = describe("batch_normalization_forward", Pass.FORWARD_TRAINING, x, x, EPS, flags)
    signs = aligned(forward.argument(Arg.WORKSPACE).bytes)
    wanted = {Arg.TARGET: np.maximum(normal, 0), **statistics}
    yield "normalisation and ReLU", forward, {Arg.SOURCE: X, Arg.WORKSPACE: signs}, wanted
    flags = NormalisationFlag.GIVEN_STATISTICS
    forward = describe("batch_normalization_forward", Pass.FORWARD_TRAINING, x, x, EPS, flags)
    given = {Arg.SOURCE: X, Arg.MEAN: bias, Arg.VARIANCE: factor}
    result = (X - 0.5) / np.sqrt(2 + EPS)
    yield "normalisation by given statistics", forward, given, {Arg.TARGET: result}
    backward = describe(
        "batch_normalization_backward", Pass.BACKWARD_DATA, x, x, x, EPS, flags, forward=forward
    )
    given = {**given, Arg.TARGET_DIFF: Y}
    wanted = {Arg.SOURCE_DIFF: Y / np.sqrt(2 + EPS)}
    yield "its gradient", backward, given, wanted


def _copies() -> Iterator[Case]:
    """Concatenation, and turning a matrix over."""
    row, rows, turned = (
        Descriptor.plain((1, 4)), Descriptor.plain((2, 4)), Descriptor.plain((2, 4), (1, 2)),
    )  # fmt: skip
    both = np.stack([X, Y])
    given = {Arg.MULTIPLE_SOURCE: X, Arg.MULTIPLE_SOURCE + 1: Y}
    yield "concatenation", describe("concat", rows, 2, 0, [row, row]), given, {Arg.TARGET: both}
    yield "reorder", reorder(rows, turned), {Arg.SOURCE: both}, {Arg.TARGET: both.T}
