"""What the tests of recurrent layers share: their prototxt, sequences, and a run in plain steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from caffepy.engine.ops.numpy.backend import NumpyOps
from tests.harness import make_layer

Arrays = list[np.ndarray]
# Takes x, x_static (or None), cont, the states before and the parameters, for one step of one
# sequence; gives the output and the states after it.
Step = Callable[[np.ndarray, "np.ndarray | None", float, Arrays, Arrays], tuple[np.ndarray, Arrays]]
STATES = {"LSTM": ("h", "c"), "RNN": ("h",)}
FIELDS = 'weight_filler { type: "uniform" min: -0.5 max: 0.5 } bias_filler { value: 0.1 }'


def layer(kind: str, size: int, fields: str = "") -> str:
    return f'type: "{kind}" recurrent_param {{ num_output: {size} {fields} {FIELDS} }}'


def exposed_layer(kind: str, size: int) -> str:
    """A layer that gives its states as tops."""
    names = " ".join(f'top: "{name}"' for name in ("y", *STATES[kind]))
    return names + layer(kind, size, "expose_hidden: true")


def sequences(steps: int, samples: int, *features: int) -> Arrays:
    """x, and marks with beginnings here and there."""
    random = np.random.default_rng(0)
    x = random.standard_normal((steps, samples, *features))
    return [x, random.integers(0, 2, (steps, samples))]


@dataclass
class Case:
    """A layer with its bottoms: x, cont, x_static where there is one, and exposed states."""

    text: str
    bottoms: Arrays
    static: bool
    states: int  # how many it has
    exposed: bool

    @property
    def differentiable(self) -> list[int]:
        """The bottoms that get a gradient other than 0."""
        return [0, 2] if self.static else [0]


@st.composite
def cases(draw: st.DrawFn, kind: str) -> Case:
    """Layers with sequences that begin anywhere."""
    samples, size = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    features = draw(st.lists(st.integers(1, 2), min_size=1, max_size=2))
    x, cont = sequences(draw(st.integers(1, 4)), samples, *features)
    marks = draw(st.lists(st.integers(0, 1), min_size=cont.size, max_size=cont.size))
    bottoms = [x, np.array(marks).reshape(cont.shape)]
    static, exposed = draw(st.booleans()), draw(st.booleans())
    random = np.random.default_rng(1)
    if static:
        bottoms.append(random.standard_normal((samples, 2)))
    states = len(STATES[kind])
    if exposed:
        bottoms += list(random.standard_normal((states, 1, samples, size)))
    text = exposed_layer(kind, size) if exposed else layer(kind, size)
    return Case(text, bottoms, static, states, exposed)


def differentiable_cases(kind: str) -> st.SearchStrategy[Case]:
    """Those whose gradient is all of the output's: no earlier pass matters, and no state is given
    on, whose gradient the layer does not take."""

    def begun(case: Case) -> Case:
        case.bottoms[1][0] = 0
        return case

    return cases(kind).filter(lambda case: not case.exposed).map(begun)


def check_steps(case: Case, step: Step) -> None:
    """Compares three passes of a layer in float64 with `step`, called for each step of each
    sequence."""
    run = make_layer(case.text, case.bottoms, ops=NumpyOps(np.float64))
    parameters = [blob.data.read() for blob in run.layer.blobs]
    x, cont = case.bottoms[:2]
    static = case.bottoms[2].reshape(len(case.bottoms[2]), -1) if case.static else None
    samples = range(x.shape[1])
    size = run.top[0].shape[-1]
    states = [[np.zeros(size)] * case.states for _ in samples]
    for _ in range(3):
        if case.exposed:
            given = case.bottoms[-case.states :]
            states = [[state[0, sample] for state in given] for sample in samples]
        found, *after = run.forward()
        for time, sample in np.ndindex(cont.shape):
            expected, states[sample] = step(
                x[time, sample].reshape(-1),
                None if static is None else static[sample],
                cont[time, sample],
                states[sample],
                parameters,
            )
            np.testing.assert_allclose(found[time, sample], expected, rtol=1e-9, atol=1e-12)
        kept: Sequence[np.ndarray] = (
            [array[0] for array in after] if case.exposed else list(run.layer.state().values())
        )
        for place, array in enumerate(kept):
            expected = np.array([states[sample][place] for sample in samples])
            np.testing.assert_allclose(array, expected, rtol=1e-9, atol=1e-12)
