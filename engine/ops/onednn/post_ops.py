"""What a primitive does with its results before it writes them."""

from __future__ import annotations

from caffepy.engine.ops.onednn.binding import Algorithm, Arg, Descriptor, Handle, new_attributes
from caffepy.engine.ops.onednn.library import library

_ONE_FOR_ALL = 0  # the mask of a slope that is the same along all axes
_TYPE_OF_TARGET = 0  # dnnl_data_type_undef


class PostOps:
    """Operations on each element of a result, in the order in which they are added here.

    places: of their operands in an execution, in the same order.
    """

    def __init__(self) -> None:
        self._operations = Handle(library().make("dnnl_post_ops_create"), "post_ops")
        self.places: list[int] = []
        self._count = 0

    def combine(self, algorithm: Algorithm, operand: Descriptor) -> None:
        """A sum or product with an operand whose axes are those of the result, or 1 long."""
        library().call(
            "dnnl_post_ops_append_binary", self._operations.pointer, algorithm, operand.pointer
        )
        self._add_place(Arg.SOURCE_1)

    def rectify(self) -> None:
        """Negative numbers are multiplied by the operand, one number. Unlike the library's ReLU it
        hands nan on."""
        library().call("dnnl_post_ops_append_prelu", self._operations.pointer, _ONE_FOR_ALL)
        self._add_place(Arg.WEIGHTS)

    def root(self) -> None:
        """The square root."""
        numbers = Algorithm.SQUARE_ROOT, 0.0, 0.0
        library().call("dnnl_post_ops_append_eltwise", self._operations.pointer, *numbers)
        self._count += 1

    def add_target(self, factor: float) -> None:
        """Adds `factor` times what the target held."""
        library().call(
            "dnnl_post_ops_append_sum", self._operations.pointer, factor, 0, _TYPE_OF_TARGET
        )
        self._count += 1

    def attributes(self) -> Handle:
        """The attributes of a primitive that ends so."""
        made = new_attributes()
        library().call("dnnl_primitive_attr_set_post_ops", made.pointer, self._operations.pointer)
        return made

    def _add_place(self, place: Arg) -> None:
        self._count += 1
        self.places.append(Arg.POST_OP * self._count + place)
