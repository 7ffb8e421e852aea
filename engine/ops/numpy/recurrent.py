"""Recurrent networks on numpy: the reference. They loop over time only."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.numpy.activation import sigmoid

GATES = 4  # of an LSTM: input, forget, output, and what is put in


class LstmUnit(Op):
    """One step of an LSTM: c = f c_before + i g and h = o tanh(c), where i, f, o = sigmoid and
    g = tanh of a quarter each of x, in this order, and f is multiplied by cont.

    c, h: (N, size) elements.  x: (N, 4 size) elements.  cont: (N,) elements, 0 where a sequence
    begins, else 1. backward takes what the last forward pass computed.
    """

    def __init__(self, ops: Ops, samples: int, size: int) -> None:
        super().__init__(ops)
        self.shape = samples, size
        self._gates = np.empty((samples, GATES * size), ops.dtype)
        self._squashed = np.empty(self.shape, ops.dtype)  # tanh(c)

    @step(reads="c x cont", writes="out_c out_h")
    def forward(self, c: Value, x: Value, cont: Value, *, out_c: Value, out_h: Value) -> None:
        """out_c, out_h: c and h after the step."""
        self._gates[...] = x.read().reshape(self._gates.shape)
        after = out_c.write().reshape(self.shape)
        _advance(self._gates, cont.read().reshape(-1, 1), self._rows(c), after, self._squashed)
        output = _quarters(self._gates)[2]
        np.multiply(output, self._squashed, out=out_h.write().reshape(self.shape))

    @step(reads="dc dh c", writes="out_c out_x")
    def backward(
        self,
        dc: Value,
        dh: Value,
        c: Value,
        *,
        out_c: Value | None = None,
        out_x: Value | None = None,
    ) -> None:
        """dc, dh: gradients of c and h after the step.  c: that before it.  out_c, out_x: its
        gradient and that of x. For the gradient, f is taken as a sigmoid whatever cont is, which is
        right for 0 and 1."""
        gates = np.empty_like(self._gates)
        before = _retreat(
            self._gates, self._squashed, self._rows(c), self._rows(dc), self._rows(dh), gates
        )
        if out_c is not None:
            out_c.write().reshape(self.shape)[...] = before
        if out_x is not None:
            out_x.write().reshape(gates.shape)[...] = gates

    def _rows(self, value: Value) -> np.ndarray:
        """(N, size)"""
        rows: np.ndarray = value.read().reshape(self.shape)
        return rows


class Lstm(Op):
    """`steps` steps of LSTM units whose x is (x[t] + static + w h) with h = cont[t] h_before.

    x: (steps, N, 4 size) elements.  static: (N, 4 size) elements or None.  cont: (steps, N)
    elements, 0 where a sequence begins, else 1.  w: (4 size, size).  h, c: (N, size) elements.
    backward takes what the last forward pass computed; no gradient goes to the first h and c, nor
    comes from the last.
    """

    def __init__(self, ops: Ops, steps: int, samples: int, size: int) -> None:
        super().__init__(ops)
        self.shape = steps, samples, size
        self._gates = np.empty((steps, samples, GATES * size), ops.dtype)
        self._cells = np.empty((steps + 1, samples, size), ops.dtype)  # c before and after steps
        self._squashed, self._hidden = (np.empty(self.shape, ops.dtype) for _ in "th")

    @step(reads="x static cont w h c", writes="out out_h out_c")
    def forward(
        self,
        x: Value,
        static: Value | None,
        cont: Value,
        w: Value,
        h: Value,
        c: Value,
        *,
        out: Value,
        out_h: Value,
        out_c: Value,
    ) -> None:
        """h, c: those before the first step.  out: (steps, N, size) h after each.  out_h, out_c:
        those after the last step; may be h and c."""
        steps, samples, size = self.shape
        gates, cells, weights = self._gates, self._cells, w.read().T
        gates[...] = x.read().reshape(gates.shape)
        if static is not None:
            gates += static.read().reshape(gates.shape[1:])
        cells[0] = c.read().reshape(samples, size)
        before = h.read().reshape(samples, size)
        result = out.write().reshape(self.shape)
        for time, goes_on in enumerate(cont.read().reshape(steps, samples, 1)):
            np.multiply(before, goes_on, out=self._hidden[time])
            gates[time] += self._hidden[time] @ weights
            _advance(gates[time], goes_on, cells[time], cells[time + 1], self._squashed[time])
            before = result[time]
            np.multiply(_quarters(gates[time])[2], self._squashed[time], out=before)
        out_h.write().reshape(samples, size)[...] = before
        out_c.write().reshape(samples, size)[...] = cells[steps]

    @step(reads="dy cont w", writes="out out_static", adds="add_w")
    def backward(
        self,
        dy: Value,
        cont: Value,
        w: Value,
        *,
        out: Value,
        out_static: Value | None = None,
        add_w: Value | None = None,
    ) -> None:
        """dy: gradient of forward's `out`.  out: gradient of x.  out_static: that of static.
        add_w: the gradient of w is added to it."""
        gradient, gates = dy.read().reshape(self.shape), out.write().reshape(self._gates.shape)
        goes_on, weights = cont.read().reshape(*self.shape[:2], 1), w.read()
        of_hidden, of_cell = np.zeros((2, *self.shape[1:]), self.ops.dtype)
        for time in reversed(range(self.shape[0])):
            of_hidden += gradient[time]
            of_cell = _retreat(
                self._gates[time], self._squashed[time], self._cells[time],
                of_cell, of_hidden, gates[time],
            )  # fmt: skip
            np.matmul(gates[time], weights, out=of_hidden)
            of_hidden *= goes_on[time]
        _give_parts(gates, self._hidden, out_static, add_w)


class Rnn(Op):
    """`steps` steps of h = tanh(x[t] + static + w h_before cont[t]).

    x: (steps, N, size) elements.  static: (N, size) elements or None.  cont: (steps, N) elements,
    0 where a sequence begins, else 1.  w: (size, size).  h: (N, size) elements. backward takes what
    the last forward pass computed; no gradient goes to the first h, nor comes from the last.
    """

    def __init__(self, ops: Ops, steps: int, samples: int, size: int) -> None:
        super().__init__(ops)
        self.shape = steps, samples, size
        self._hidden = np.empty(self.shape, ops.dtype)  # h before each step, times cont

    @step(reads="x static cont w h", writes="out out_h")
    def forward(
        self,
        x: Value,
        static: Value | None,
        cont: Value,
        w: Value,
        h: Value,
        *,
        out: Value,
        out_h: Value,
    ) -> None:
        """h: that before the first step.  out: (steps, N, size) h after each.  out_h: that after
        the last step; may be h."""
        steps, samples, size = self.shape
        before, weights = h.read().reshape(samples, size), w.read().T
        result = out.write().reshape(self.shape)
        result[...] = x.read().reshape(self.shape)
        if static is not None:
            result += static.read().reshape(self.shape[1:])
        for time, goes_on in enumerate(cont.read().reshape(steps, samples, 1)):
            np.multiply(before, goes_on, out=self._hidden[time])
            before = result[time]
            before += self._hidden[time] @ weights
            np.tanh(before, out=before)
        out_h.write().reshape(samples, size)[...] = before

    @step(reads="dy y cont w", writes="out out_static", adds="add_w")
    def backward(
        self,
        dy: Value,
        y: Value,
        cont: Value,
        w: Value,
        *,
        out: Value,
        out_static: Value | None = None,
        add_w: Value | None = None,
    ) -> None:
        """dy: gradient of y, forward's `out`.  out: gradient of x.  out_static: that of static.
        add_w: the gradient of w is added to it."""
        gradient, result = dy.read().reshape(self.shape), y.read().reshape(self.shape)
        inner = out.write().reshape(self.shape)
        goes_on, weights = cont.read().reshape(*self.shape[:2], 1), w.read()
        of_hidden = np.zeros(self.shape[1:], self.ops.dtype)
        for time in reversed(range(self.shape[0])):
            of_hidden += gradient[time]
            np.multiply(of_hidden, 1 - result[time] ** 2, out=inner[time])
            np.matmul(inner[time], weights, out=of_hidden)
            of_hidden *= goes_on[time]
        _give_parts(inner, self._hidden, out_static, add_w)


def _quarters(gates: np.ndarray) -> list[np.ndarray]:
    """Views of i, f, o and g, (N, size) each."""
    return np.split(gates, GATES, axis=1)


def _advance(
    gates: np.ndarray, goes_on: np.ndarray, c: np.ndarray, after: np.ndarray, squashed: np.ndarray
) -> None:
    """One step: x in `gates` becomes i, f, o and g; fills `after` with c and `squashed` with
    tanh(c)."""
    size = c.shape[1]
    sigmoid(gates[:, : 3 * size], gates[:, : 3 * size])
    put, forget, _, new = _quarters(gates)
    np.tanh(new, out=new)
    forget *= goes_on
    np.multiply(forget, c, out=after)
    after += put * new
    np.tanh(after, out=squashed)


def _retreat(
    gates: np.ndarray,
    squashed: np.ndarray,
    c: np.ndarray,
    dc: np.ndarray,
    dh: np.ndarray,
    out: np.ndarray,
) -> np.ndarray:
    """One step back: fills `out` with the gradient of x; returns that of c before the step."""
    put, forget, output, new = _quarters(gates)
    of_cell = dc + dh * output * (1 - squashed**2)
    slopes = (
        (new * put * (1 - put), of_cell),
        (c * forget * (1 - forget), of_cell),
        (squashed * output * (1 - output), dh),
        (put * (1 - new**2), of_cell),
    )
    for target, (slope, gradient) in zip(_quarters(out), slopes, strict=True):
        np.multiply(slope, gradient, out=target)
    before: np.ndarray = of_cell * forget
    return before


def _give_parts(
    inner: np.ndarray, hidden: np.ndarray, out_static: Value | None, add_w: Value | None
) -> None:
    """From the gradient of what went into all steps, (steps, N, width): that of what went into each
    step alike, and that of the weights by which `hidden`, (steps, N, size), went in."""
    if out_static is not None:
        np.sum(inner, axis=0, out=out_static.write().reshape(inner.shape[1:]))
    if add_w is not None:
        rows = inner.shape[0] * inner.shape[1]
        flat_inner, flat_hidden = (part.reshape(rows, part.shape[2]) for part in (inner, hidden))
        weights = add_w.modify()
        weights += flat_inner.T @ flat_hidden
