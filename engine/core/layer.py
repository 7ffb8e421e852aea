"""Layer: the life cycle that every layer type follows, and what it is given to work with."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, NoReturn

from google.protobuf.message import Message

from caffepy.engine.core.backend import Ops
from caffepy.engine.core.blob import Blob
from caffepy.engine.core.errors import DataError, NetError, ShapeError
from caffepy.engine.core.keys import Keys
from caffepy.engine.core.random import Counter, Stream
from caffepy.engine.core.ready_ops import ReadyOps, Shelf
from caffepy.engine.core.storage import Shape
from caffepy.engine.core.value import Epoch, Value
from caffepy.proto import custom
from caffepy.proto.caffe_pb2 import TEST, TRAIN, FillerParameter, LayerParameter
from caffepy.proto.errors import place

Blobs = Sequence[Blob]
FORK_FIELDS = 20000  # field numbers from here on are ours, for fields that only forks of Caffe have


@dataclass
class LayerContext:
    """What a net gives its layers.

    phase: TRAIN or TEST.  ops: the backend.  seed, rank: what random streams are keyed by.
    fill: fills a value by a FillerParameter with the numbers of a stream at a position.
    folders: where relative files of the prototxt are looked for, in order.
    passes: the net's count of forward passes, the position of random numbers in a layer.
    fills: while a net is built, what fills its blobs later, when all of it is known to fit into the
    machine's memory; None where blobs are filled at once.  keys: of the layers made so far.
    shelf: where layers put the ops of earlier shapes.  data_threads: how many threads make the
    batches of a data layer; None: what suits the backend.  dialect: the fork whose meaning a type
    has, where it has several and the layer does not show which (engine/core/dialect.py).
    """

    phase: int
    ops: Ops
    fill: Callable[[Value, FillerParameter, Stream, int], None]
    seed: int = 0
    rank: int = 0
    folders: tuple[Path, ...] = ()
    epoch: Epoch = field(default_factory=Epoch)
    passes: Counter = field(default_factory=Counter)
    fills: list[Callable[[], None]] | None = None
    keys: Keys = field(default_factory=Keys)
    shelf: Shelf = field(default_factory=Shelf)
    data_threads: int | None = None
    dialect: str = ""


class Layer:
    """One layer of a net.

    `setup` runs once, `reshape` after it and before every forward pass; `forward` fills the tops'
    data, `backward` overwrites the diffs of those bottoms that `propagate_down` names and adds to
    the diffs of the parameters whose `param_propagate_down` is set.

    Class attributes say how many blobs the layer takes (an int, or a range (least, most)), whether
    missing tops are made up, whether its first top is a loss, and whether it consists of op calls
    only (`records`): then its calls are recorded and replayed, otherwise it is called anew in each
    run. `varying_tops`: those with another number of rows (axis 2) in each batch, nothing else
    changing; `bottoms_of_any_rows`: those that its ops, once built, take with any number of rows.
    `not_finite_where` says which finite numbers the layer makes nan or inf of, for messages.
    `loose_blobs`: whether the shapes of its blobs in files may have more or fewer axes of size 1.
    """

    type: ClassVar[str]
    bottoms: ClassVar[int | tuple[int, int | None]] = 1
    tops: ClassVar[int | tuple[int, int | None]] = 1
    equal_bottoms_tops: ClassVar[bool] = False
    auto_tops: ClassVar[bool] = False
    is_loss: ClassVar[bool] = False
    in_place_allowed: ClassVar[bool] = False
    records: ClassVar[bool] = True
    varying_tops: ClassVar[tuple[int, ...]] = ()
    bottoms_of_any_rows: ClassVar[tuple[int, ...]] = ()
    not_finite_where: ClassVar[str] = ""
    loose_blobs: ClassVar[bool] = False

    def __init__(self, param: LayerParameter, context: LayerContext) -> None:
        self.param = param
        self.context = context
        self.name: str = param.name
        self.key = context.keys.take(param.name)  # what tells it from layers of the same name
        self.blobs: list[Blob] = []
        self.param_propagate_down: list[bool] = []
        self.batches_ahead = 0  # how many more of its tops' batches it keeps ready
        self.multiply_adds: int | None = 0  # forward, in products with weights; None: unknown
        self._ready_ops = ReadyOps(context.ops, context.shelf, context.passes, id(self))
        self._shapes: tuple[Shape, ...] | None = None
        self._blocks_read: set[str] = set()

    # ---- the life cycle

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Reads the layer's parameters and makes its blobs; the bottoms' shapes are known."""

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        """Shapes the tops and builds the ops. Returns whether any bottom's shape is new; a layer
        calls this first and returns at once on False. Ops of shapes seen lately are found again."""
        shapes = tuple(blob.shape for blob in bottom)
        if shapes == self._shapes:
            return False
        self._shapes = shapes
        self._ready_ops.begin(shapes)
        return True

    def forget_shapes(self) -> None:
        """Makes the next `reshape` do all its work again, after one that was refused."""
        self._shapes = None

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Fills the tops' data."""
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Overwrites bottom diffs and adds to parameter diffs; by default refuses to."""
        self.refuse_backward(propagate_down, "it has no gradient")

    def state(self) -> dict[str, Any]:
        """What must survive a snapshot besides the parameters: plain numbers, strings, arrays."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` gave."""

    def close(self) -> None:
        """Ends what the layer has running (threads, open files)."""

    # ---- what works in place

    @property
    def gradient_reads(self) -> str:
        """What backward reads of the first top: a key of `engine.in_place.SPOILS`. A later layer
        that changes it in place spoils the gradient. Nothing by default."""
        return ""

    @property
    def spoils_in_place(self) -> tuple[str, ...]:
        """What it surely changes in place: members of `engine.in_place.SPOILS`; nothing where that
        is not known."""
        return ()

    # ---- where numbers come from, for messages

    def describe_sample(self, top_index: int, index: int) -> str:
        """For a reader of files: where sample `index` of a top is from (`row 7 of 'train.h5'`)."""
        return ""

    def sample_at(self, top_index: int, place: int, shape: Shape) -> int:
        """For a reader of files: which sample element `place` of a top of this shape is from."""
        elements: int = math.prod(shape[1:])
        return place // elements

    def origin(self, top_index: int, place: int, bottom: Blobs) -> tuple[int, int] | None:
        """The index of the bottom, and the place there, of the one element that element `place` of
        a top is made of; None where there is no such one. Places count in C order."""
        return None

    # ---- what the net asks

    def loss_weight(self, top_index: int) -> float:
        """The prototxt's loss_weight of a top, else the default for the first top, else 0."""
        given = self.param.loss_weight
        if top_index < len(given):
            return given[top_index]
        return self.default_loss_weight if top_index == 0 and not given else 0.0

    @property
    def default_loss_weight(self) -> float:
        """That of the first top where the prototxt gives none: 1 for losses."""
        return 1.0 if self.is_loss else 0.0

    def allow_force_backward(self, bottom_index: int) -> bool:
        """Whether force_backward makes this layer fill the diff of a bottom."""
        return not (self.is_loss and bottom_index == 1)

    def check_blob_counts(self, bottoms: int, tops: int) -> None:
        """Raises: NetError where the type does not take that number of bottoms or tops."""
        for kind, wanted, found in (("bottom", self.bottoms, bottoms), ("top", self.tops, tops)):
            least, most = wanted if isinstance(wanted, tuple) else (wanted, wanted)
            if found < least or (most is not None and found > most):
                expected = (
                    f"{least}" if least == most
                    else f"at least {least}" if most is None
                    else f"{least} to {most}"
                )  # fmt: skip
                remedy = (
                    f"Give the layer that many `{kind}:` lines."
                    if most != 0
                    else f"Remove its `{kind}:` lines."
                )
                raise NetError(
                    f"{self.where}: expected {expected} {kind} blob(s), got {found}. {remedy}"
                )
        if self.equal_bottoms_tops and bottoms != tops:
            raise NetError(
                f"{self.where}: expected as many tops as bottoms, got {bottoms} bottom(s) and "
                f"{tops} top(s). Make the numbers equal."
            )

    # ---- helpers for layers

    @property
    def ops(self) -> Ops:
        return self._ready_ops  # type: ignore[return-value] # it hands all else on

    @property
    def training(self) -> bool:
        return self.context.phase == TRAIN

    @property
    def testing(self) -> bool:
        return self.context.phase == TEST

    @property
    def where(self) -> str:
        """`net.prototxt:42: layer 'pool1' (Pooling)`, for messages."""
        return place(self.param)

    def stream(self, purpose: str) -> Stream:
        """The random numbers of one purpose in this layer."""
        return Stream(self.context.seed, self.key, purpose, self.context.rank)

    def add_parameter(self, shape: Shape, filler: FillerParameter | None = None) -> Blob:
        """Makes the next learnable blob, which `filler` fills by the end of set-up (zeros without
        one)."""
        index = len(self.blobs)
        blob = Blob(f"{self.name}.{index}", shape, self.ops.dtype, self.context.epoch)
        self.fill_at_setup(blob.data, filler or FillerParameter(), f"param{index}")
        self.blobs.append(blob)
        self.param_propagate_down.append(True)
        return blob

    def fill(self, value: Value, filler: FillerParameter, purpose: str, position: int = 0) -> None:
        """Fills `value` with this layer's random numbers of `purpose` at `position`.

        Raises: NetError where the filler does not exist or does not suit the shape.
        """
        try:
            self.context.fill(value, filler, self.stream(purpose), position)
        except NetError as error:
            self.error(str(error))

    def fill_at_setup(self, value: Value, filler: FillerParameter, purpose: str) -> None:
        """Like `fill`, at the end of the net's set-up, unless something was written by then (it may
        share another one's memory)."""

        def fill() -> None:
            if not value.allocated:
                self.fill(value, filler, purpose)

        if self.context.fills is None:
            fill()
        else:
            self.context.fills.append(fill)

    def learning_diff(self, index: int) -> Value | None:
        """Where backward adds the gradient of blobs[index]; None where there is none to add."""
        if index < len(self.blobs) and self.param_propagate_down[index]:
            return self.blobs[index].diff
        return None

    def canonical_axis(self, axis: int, blob: Blob, field_name: str = "axis") -> int:
        """`axis`, negative ones counted from the end. Raises: ShapeError where blob lacks it."""
        axes = blob.num_axes
        if not -axes <= axis < axes:
            self.shape_error(
                f"{field_name} {axis} does not exist in '{blob.name}'",
                f"{-axes} to {axes - 1} for its shape {blob.shape}" if axes else "a blob with axes",
                str(axis),
                f"Change {field_name}, or the shape of '{blob.name}'.",
            )
        return axis % axes

    def shape_error(self, what: str, expected: str, got: str, remedy: str) -> NoReturn:
        """Raises: ShapeError in the form where: what: expected, got. remedy."""
        raise ShapeError(f"{self.where}: {what}: expected {expected}, got {got}. {remedy}")

    def error(self, message: str) -> NoReturn:
        """Raises: NetError with the layer's place before `message`."""
        raise NetError(f"{self.where}: {message}")

    def find_file(self, name: str, what: str) -> Path:
        """The file or folder that a prototxt calls `name`: in the first of the context's folders
        that has it. what: where it is named (`data_param.source`). Raises: DataError.
        """
        folders = self.context.folders or (Path(),)
        for folder in folders if name else ():
            if os.path.exists(folder / name):  # unlike Path's, False for a name of 5000 letters
                return folder / name
        places = dict.fromkeys(folder.resolve() for folder in folders)
        tried = " or ".join(f"'{folder}'" for folder in places)
        raise DataError(
            f"{self.where}: {what}: expected an existing file or folder, got '{name}', which "
            f"is not in {tried}. Fix the path, or start in the folder that it is relative to."
        )

    def custom_param(self, block: str, **fields: Any) -> SimpleNamespace:
        """The fields of a block that the schema does not know, such as `sin_param`, as attributes.

        fields: each with its default, or its type where it must be given; see proto/custom.py.
        Raises: PrototxtError where the prototxt gives another field, or another kind of value.
        """
        self._blocks_read.add(block)
        return custom.block(self.param, block, fields)

    def refuse_unread_blocks(self) -> None:
        """Raises: PrototxtError where the prototxt gives a block that neither the schema knows nor
        `custom_param` has read."""
        custom.refuse_unread(self.param, self._blocks_read)

    def refuse_fork_fields(
        self, message: Message, harmless: Sequence[str] = (), others: Sequence[str] = ()
    ) -> None:
        """Raises: NetError where a field that only a fork has, and that is not named in `harmless`,
        or one named in `others`, asks for something else than its default."""
        defaults = type(message)()
        for field_, value in message.ListFields():
            if (
                (field_.number >= FORK_FIELDS or field_.name in others)
                and field_.name not in harmless
                and value != getattr(defaults, field_.name)
            ):
                self.error(
                    f"{field_.name}: expected it to be left out or at its default, got {value}: a "
                    "fork's extension that is not implemented here. Remove it, or build what it "
                    "does from other layers."
                )

    def refuse_in_place(self, bottom: Blobs, top: Blobs) -> None:
        """Raises: NetError where a top is one of the bottoms."""
        for blob in top:
            if any(blob is other for other in bottom):
                self.error(
                    f"it cannot work in place: top '{blob.name}' is also a bottom. Name the top "
                    "differently."
                )

    def refuse_backward(self, propagate_down: Sequence[bool], why: str) -> None:
        """Raises: NetError where a gradient is asked for that does not exist."""
        if any(propagate_down):
            index = list(propagate_down).index(True)
            self.error(
                f"bottom '{self.param.bottom[index]}' needs a gradient, but {why}. Put the layer "
                "where nothing below it learns, or set `propagate_down: false`."
            )
