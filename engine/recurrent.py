"""What the recurrent layers have in common: sequences, states that outlive a pass, parameters."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from caffepy.engine.core.errors import DataError, NetError
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.value import Value
from caffepy.engine.ops.geometry import InnerProductGeometry


class RecurrentLayer(Layer):
    """A layer that reads sequences step by step, T steps of N sequences at a time.

    Its states are kept from one forward pass to the next, or, with expose_hidden, given as bottoms
    and returned as tops. What does not depend on the state, W x + b and W_static x_static, is
    computed for all steps at once into `inputs`, (T, N, width), and `static_inputs`, (N, width);
    width is `gates` times num_output. The first parameters are W, b and, where there is a static
    bottom, W_static.
    """

    bottoms = (2, None)
    tops = (1, None)
    states: ClassVar[tuple[str, ...]] = ("h",)
    gates: ClassVar[int] = 1

    def check_blob_counts(self, bottoms: int, tops: int) -> None:
        """Raises: NetError where the number of blobs does not suit expose_hidden."""
        super().check_blob_counts(bottoms, tops)
        exposed = self.exposed
        if bottoms not in (2 + exposed, 3 + exposed) or tops != 1 + exposed:
            names = " and ".join(self.states)
            with_states = f", with expose_hidden and {names} also among both" if exposed else ""
            raise NetError(
                f"{self.where}: expected {2 + exposed} bottoms, or {3 + exposed} with a static "
                f"input, and {1 + exposed} top(s){with_states}, got {bottoms} and {tops}. Correct "
                "them, or recurrent_param.expose_hidden."
            )

    @property
    def exposed(self) -> int:
        """How many states are bottoms and tops."""
        return len(self.states) if self.param.recurrent_param.expose_hidden else 0

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Raises: NetError where num_output is 0; ShapeError where a bottom has too few axes."""
        param = self.param.recurrent_param
        self.size = param.num_output
        if not self.size:
            self.error("recurrent_param.num_output: expected at least 1, got 0. Set it.")
        self.has_static = len(bottom) > 2 + self.exposed
        self._check_shapes(bottom)
        width = self.gates * self.size
        self.features = math.prod(bottom[0].shape[2:])
        self.add_parameter((width, self.features), param.weight_filler)
        self.add_parameter((width,), param.bias_filler)
        if self.has_static:
            self.static_features = math.prod(bottom[2].shape[1:])
            self.add_parameter((width, self.static_features), param.weight_filler)
        self.memory = [Value((), self.ops.dtype) for _ in self.states]
        self.inputs, self.static_inputs = (Value((), self.ops.dtype) for _ in range(2))
        self.inputs_diff, self.static_diff = (Value((), self.ops.dtype) for _ in range(2))

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        """Raises: ShapeError where the bottoms do not fit each other or the weights."""
        if not super().reshape(bottom, top):
            return False
        self._check_shapes(bottom)
        steps, samples = bottom[0].shape[:2]
        width = self.gates * self.size
        self._check_features(bottom, 0, self.features)
        for value in (self.inputs, self.inputs_diff):
            value.reshape((steps, samples, width))
        geometry = InnerProductGeometry(steps * samples, self.features, width)
        self.product = self.ops.inner_product(geometry)
        self.multiply_adds = geometry.multiply_adds + steps * samples * width * self.size
        if self.has_static:
            self._check_features(bottom, 2, self.static_features)
            for value in (self.static_inputs, self.static_diff):
                value.reshape((samples, width))
            geometry = InnerProductGeometry(samples, self.static_features, width)
            self.static_product = self.ops.inner_product(geometry)
            self.multiply_adds += geometry.multiply_adds
        self.zeros = self.ops.fill(0.0)
        for value in self.memory:
            if value.reshape((samples, self.size)):  # other sequences than before
                value.write()[...] = 0
        top[0].reshape((steps, samples, self.size))
        for blob in top[1:]:
            blob.reshape((1, samples, self.size))
        return True

    def states_before(self, bottom: Blobs) -> list[Value]:
        """Where the states before the first step stand, (N, size) elements each."""
        if not self.exposed:
            return self.memory
        return [blob.data for blob in bottom[len(bottom) - self.exposed :]]

    def states_after(self, top: Blobs) -> list[Value]:
        """Where the states after the last step go."""
        return [blob.data for blob in top[1:]] if self.exposed else self.memory

    def forward_inputs(self, bottom: Blobs) -> None:
        """Fills `inputs` and `static_inputs`."""
        weights, bias = self.blobs[:2]
        self.product.forward(bottom[0].data, weights.data, bias.data, out=self.inputs)
        if self.has_static:
            static, weights = bottom[2].data, self.blobs[2]
            self.static_product.forward(static, weights.data, None, out=self.static_inputs)

    def backward_inputs(self, propagate_down: list[bool], bottom: Blobs) -> None:
        """From `inputs_diff` and `static_diff`: the gradients of the first parameters, and of the
        bottoms as far as they are wanted; 0 for states."""
        add_w, add_b = self.learning_diff(0), self.learning_diff(1)
        if add_w is not None or add_b is not None:
            self.product.backward_params(self.inputs_diff, bottom[0].data, add_w=add_w, add_b=add_b)
        if propagate_down[0]:
            weights = self.blobs[0].data
            self.product.backward_data(self.inputs_diff, weights, out=bottom[0].diff)
        if self.has_static:
            add_w = self.learning_diff(2)
            if add_w is not None:
                self.static_product.backward_params(self.static_diff, bottom[2].data, add_w=add_w)
            if propagate_down[2]:
                weights = self.blobs[2].data
                self.static_product.backward_data(self.static_diff, weights, out=bottom[2].diff)
        for index in range(len(bottom) - self.exposed, len(bottom)):
            if propagate_down[index]:
                self.zeros.forward(out=bottom[index].diff)

    def allow_force_backward(self, bottom_index: int) -> bool:
        """All but the marks of where sequences begin."""
        return bottom_index != 1

    def state(self) -> dict[str, Any]:
        if self.exposed:
            return {}
        return {
            name: value.read().copy() for name, value in zip(self.states, self.memory, strict=True)
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Raises: DataError where the state is of another size.

        It may be of another number of sequences than the net was set up for, if that changes from
        pass to pass: the next pass goes on with it where it has as many, else from 0.
        """
        for name, value in zip(self.states, self.memory, strict=True):
            kept = state.get(name)
            shape = None if kept is None else tuple(kept.shape)
            if shape is None or shape[1:] != value.shape[1:]:
                raise DataError(
                    f"{self.where}: state '{name}' of the snapshot: expected shape {value.shape}, "
                    f"got {shape}. Resume with the net that the snapshot was made with."
                )
            if value.reshape(shape):
                self.forget_shapes()
                self.context.epoch.count += 1  # what was recorded is for other sequences
            value.write()[...] = kept

    def _check_shapes(self, bottom: Blobs) -> None:
        """Raises: ShapeError where bottoms lack axes or do not fit each other."""
        x, cont = bottom[:2]
        if x.num_axes < 3:
            self.shape_error(
                f"bottom '{x.name}'",
                "at least 3 axes (steps, sequences, features)",
                f"shape {x.shape}",
                "Reshape it.",
            )
        steps, samples = x.shape[:2]
        if not steps:
            self.shape_error(
                f"bottom '{x.name}'", "at least 1 step in axis 0", f"shape {x.shape}", "Add steps."
            )
        if cont.shape != (steps, samples):
            self.shape_error(
                f"bottom '{cont.name}'",
                f"shape {(steps, samples)}, 0 or 1 for each step of each sequence of '{x.name}'",
                f"shape {cont.shape}",
                "Mark where sequences begin (0) and go on (1).",
            )
        if self.has_static and (bottom[2].num_axes < 2 or bottom[2].shape[0] != samples):
            self.shape_error(
                f"bottom '{bottom[2].name}', the static input",
                f"at least 2 axes, of which axis 0 has {samples} sequences",
                f"shape {bottom[2].shape}",
                "Give every sequence its features.",
            )
        for blob in bottom[len(bottom) - self.exposed :] if self.exposed else ():
            if blob.shape != (1, samples, self.size):
                self.shape_error(
                    f"bottom '{blob.name}', a state",
                    f"shape {(1, samples, self.size)}: 1 step, sequences, num_output",
                    f"shape {blob.shape}",
                    "Reshape it, or change num_output.",
                )

    def _check_features(self, bottom: Blobs, index: int, expected: int) -> None:
        """Raises: ShapeError where a bottom has other features than at set-up."""
        blob = bottom[index]
        found = math.prod(blob.shape[2 if index == 0 else 1 :])
        if found != expected:
            self.shape_error(
                f"bottom '{blob.name}'",
                f"{expected} features, as when the weights were made",
                f"{found} in shape {blob.shape}",
                "Keep the number of features fixed.",
            )
