"""Recurrent networks on a GPU: two launches for each step in time."""

from __future__ import annotations

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.cuda.port import Product
from caffepy.engine.ops.numpy.recurrent import GATES


class CudaLstmUnit(CudaOp):
    """One step of an LSTM: c = f c_before + i g and h = o tanh(c), where i, f, o = sigmoid and
    g = tanh of a quarter each of x, in this order, and f is multiplied by cont.

    c, h: (N, size) elements.  x: (N, 4 size) elements.  cont: (N,) elements, 0 where a sequence
    begins, else 1. backward takes what the last forward pass computed.
    """

    family = "recurrent"

    def __init__(self, ops: DeviceOps, samples: int, size: int) -> None:
        super().__init__(ops)
        self.shape = samples, size
        count = samples * size
        self._gates = self.scratch(GATES * count)
        self._squashed = self.scratch(count)  # tanh(c)
        self._no_c, self._no_x = self.scratch(count), self.scratch(GATES * count)

    @step(reads="c x cont", writes="out_c out_h")
    def forward(self, c: Value, x: Value, cont: Value, *, out_c: Value, out_h: Value) -> None:
        """out_c, out_h: c and h after the step."""
        kept = self._gates, self._squashed
        self.launch("lstm_unit_forward", c.count, self.shape[1], c, x, cont, *kept, out_c, out_h)

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
        kept = self._gates, self._squashed
        targets = out_c or self._no_c, out_x or self._no_x
        self.launch("lstm_unit_backward", c.count, self.shape[1], dc, dh, c, *kept, *targets)


class RecurrentOp(CudaOp):
    """Base of ops that go through `steps` steps of N sequences, each with a product by the weights
    w, (width, size), width being `gates` times size."""

    family = "recurrent"

    def __init__(self, ops: DeviceOps, steps: int, samples: int, size: int, gates: int) -> None:
        super().__init__(ops)
        self.shape = steps, samples, size
        self.count = samples * size  # of a state
        self.width = gates * size
        self._hidden = self.scratch(steps * self.count)  # h before each step, times cont
        self._product = self.scratch(samples * self.width)  # of h and the weights, for one step
        self._of_hidden = self.scratch(self.count)  # the gradient of h before a step

    def multiply_forward(self, time: int, w: Value) -> None:
        """The product of a step's h and the weights."""
        _, samples, size = self.shape
        self.ops.multiply(
            Product(samples, self.width, size, transpose_b=True, a_start=time * self.count),
            self._hidden,
            w,
            self._product,
        )

    def multiply_backward(self, time: int, inner: Value, w: Value) -> None:
        """The gradient of a step's h times cont. inner: (steps, N, width) that of what went in."""
        _, samples, size = self.shape
        self.ops.multiply(
            Product(samples, size, self.width, a_start=time * samples * self.width),
            inner,
            w,
            self._of_hidden,
        )

    def give_parts(self, inner: Value, out_static: Value | None, add_w: Value | None) -> None:
        """From the gradient of what went into all steps, (steps, N, width): that of what went into
        each step alike, and that of the weights."""
        steps, samples, size = self.shape
        if out_static is not None:
            self.launch("sum_of_steps", samples * self.width, steps, inner, out_static)
        if add_w is not None and samples:
            self.ops.multiply(
                Product(self.width, size, steps * samples, transpose_a=True, add=True),
                inner,
                self._hidden,
                add_w,
            )

    def last_of(self, states: Value, steps: int, out: Value) -> None:
        """Copies the state at the end of `steps` of them, (N, size) elements each."""
        layout = self.ops.layout
        last = states.read(layout)[(steps - 1) * self.count : steps * self.count]
        target = out.write(layout)
        if self.count:
            self.ops.runtime.copy(last, target)


class CudaLstm(RecurrentOp):
    """`steps` steps of LSTM units whose x is (x[t] + static + w h) with h = cont[t] h_before.

    x: (steps, N, 4 size) elements.  static: (N, 4 size) elements or None.  cont: (steps, N)
    elements, 0 where a sequence begins, else 1.  w: (4 size, size).  h, c: (N, size) elements.
    backward takes what the last forward pass computed; no gradient goes to the first h and c, nor
    comes from the last.
    """

    def __init__(self, ops: DeviceOps, steps: int, samples: int, size: int) -> None:
        super().__init__(ops, steps, samples, size, GATES)
        self._gates = self.scratch(steps * samples * self.width)
        self._cells = self.scratch((steps + 1) * self.count)  # c before and after steps
        self._squashed = self.scratch(steps * self.count)
        self._of_cell = self.scratch(self.count)  # the gradient of c

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
        steps, _, size = self.shape
        kept = self._gates, self._cells, self._squashed, self._hidden
        self.launch("begin_lstm", self.count, size, h, c, cont, self._hidden, self._cells)
        out.write(self.ops.layout)  # step by step from now on
        for time in range(steps if self.count else 0):
            self.multiply_forward(time, w)
            fixed = static is not None, x, static or self._product
            arguments = size, time, steps, *fixed, self._product, cont, *kept, out
            self.launch("lstm_forward", self.count, *arguments)
        self.last_of(out, steps, out_h)
        self.last_of(self._cells, steps + 1, out_c)

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
        steps, _, size = self.shape
        kept = self._gates, self._cells, self._squashed, self._of_hidden, self._of_cell
        out.write(self.ops.layout)  # step by step from now on
        for time in reversed(range(steps if self.count else 0)):
            self.launch("lstm_backward", self.count, size, time, steps, dy, cont, *kept, out)
            if time:
                self.multiply_backward(time, out, w)
        self.give_parts(out, out_static, add_w)


class CudaRnn(RecurrentOp):
    """`steps` steps of h = tanh(x[t] + static + w h_before cont[t]).

    x: (steps, N, size) elements.  static: (N, size) elements or None.  cont: (steps, N) elements,
    0 where a sequence begins, else 1.  w: (size, size).  h: (N, size) elements. backward takes what
    the last forward pass computed; no gradient goes to the first h, nor comes from the last.
    """

    def __init__(self, ops: DeviceOps, steps: int, samples: int, size: int) -> None:
        super().__init__(ops, steps, samples, size, 1)

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
        steps, _, size = self.shape
        self.launch("begin_hidden", self.count, size, h, cont, self._hidden)
        out.write(self.ops.layout)  # step by step from now on
        for time in range(steps if self.count else 0):
            self.multiply_forward(time, w)
            fixed = static is not None, x, static or self._product
            arguments = size, time, steps, *fixed, self._product, cont, self._hidden, out
            self.launch("rnn_forward", self.count, *arguments)
        self.last_of(out, steps, out_h)

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
        steps, _, size = self.shape
        out.write(self.ops.layout)  # step by step from now on
        for time in reversed(range(steps if self.count else 0)):
            arguments = size, time, steps, dy, y, cont, self._of_hidden, out
            self.launch("rnn_backward", self.count, *arguments)
            if time:
                self.multiply_backward(time, out, w)
        self.give_parts(out, out_static, add_w)
