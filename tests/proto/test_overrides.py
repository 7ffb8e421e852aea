"""`--set`: fields of solvers and nets by their paths, and the errors of paths that lead nowhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffepy.proto import text
from caffepy.proto.caffe_pb2 import TEST, TRAIN, NetParameter, SolverParameter
from caffepy.proto.errors import PrototxtError
from caffepy.proto.overrides import Override, override_net, override_solver, refuse_absent

SOLVER = 'base_lr: 0.1 stepvalue: 10 stepvalue: 20 type: "SGD" train_state { level: 1 }'
NET = """
name: "net"
layer { name: "data" type: "Data" top: "data" include { phase: TRAIN } data_param { batch_size: 8 } }
layer { name: "data" type: "Data" top: "data" include { phase: TEST } data_param { batch_size: 9 } }
layer { name: "fc.6/a" type: "InnerProduct" param { name: "w" } inner_product_param { num_output: 5 } }
layer { name: "fc" type: "InnerProduct" }
layer { name: "sin" type: "Sin" sin_param { amplitude: 1 } }
"""  # noqa: E501


def solver_with(*texts: str) -> SolverParameter:
    overrides = [Override.parse(one) for one in texts]
    return override_solver(text.parse(SOLVER, SolverParameter), overrides)


def net_with(*texts: str, phase: int = TRAIN) -> tuple[NetParameter, list[Override]]:
    overrides = [Override.parse(f"net.{one}") for one in texts]
    return override_net(text.parse(NET, NetParameter), overrides, phase)


def refusal(*texts: str, phase: int = TRAIN) -> str:
    """The error of overriding a field of the net."""
    try:
        net, absent = net_with(*texts, phase=phase)
        refuse_absent(absent[0], [net])
    except PrototxtError as error:
        return str(error)


@pytest.mark.parametrize(
    ("given", "field", "wanted"),
    [
        ("base_lr=0.5", "base_lr", 0.5),
        ("base_lr = 1e-3 ", "base_lr", pytest.approx(1e-3)),
        ("max_iter=-1", "max_iter", -1),
        ("solver_mode=CPU", "solver_mode", SolverParameter.CPU),
        ('solver_mode="CPU"', "solver_mode", SolverParameter.CPU),
        ("debug_info=true", "debug_info", True),
        ("type=Adam", "type", "Adam"),
        ('type="Adam"', "type", "Adam"),
        ("snapshot_prefix=C:\\data\\new", "snapshot_prefix", "C:\\data\\new"),
        ("snapshot_prefix=", "snapshot_prefix", ""),
        ("snapshot_prefix=a=b c", "snapshot_prefix", "a=b c"),
        ("stepvalue=[100,200]", "stepvalue", [100, 200]),
        ("stepvalue=[]", "stepvalue", []),
        ("stepvalue=5", "stepvalue", [5]),
        ("stepvalue.0=5", "stepvalue", [5, 20]),
        ("stepvalue.2=30", "stepvalue", [10, 20, 30]),
        ("test_net=[a.prototxt, b.prototxt]", "test_net", ["a.prototxt", "b.prototxt"]),
        ('test_net=["a,b", "c"]', "test_net", ["a,b", "c"]),
        ("test_net=a", "test_net", ["a"]),
    ],
)
def test_a_field_takes_what_a_prototxt_says(given: str, field: str, wanted: object) -> None:
    assert getattr(solver_with(given), field) == wanted


def test_a_repeated_field_that_is_given_again_grows() -> None:
    assert solver_with("stepvalue=1", "stepvalue=2", "stepvalue=3").stepvalue == [1, 2, 3]


def test_a_field_that_is_given_again_takes_the_last_value() -> None:
    assert solver_with("max_iter=1", "max_iter=2").max_iter == 2


def test_messages_are_set_by_field_or_whole() -> None:
    assert solver_with("train_state.stage=deep").train_state.level == 1
    whole = solver_with("train_state={ stage: 'a' stage: 'b' }").train_state
    assert (whole.HasField("level"), whole.stage) == (False, ["a", "b"])
    states = solver_with("test_state.0.level=3", "test_state.1={ level: 4 }").test_state
    assert [state.level for state in states] == [3, 4]
    assert len(solver_with("test_state=[{ level: 1 }, { level: 2 }]").test_state) == 2


def test_what_is_given_stays_as_it_was() -> None:
    given = text.parse(SOLVER, SolverParameter)
    override_solver(given, [Override.parse("base_lr=7")])
    assert given.base_lr == pytest.approx(0.1)


@given(st.floats(width=32, allow_nan=False))
def test_every_number_arrives_as_it_was_printed(number: float) -> None:
    assert solver_with(f"base_lr={number!r}").base_lr == number


def test_the_longest_layer_name_that_fits_is_meant() -> None:
    net, absent = net_with(
        "fc.6/a.param.0.lr_mult=0", "fc.6/a.param.1.lr_mult=2", "fc.type=Softmax"
    )
    assert not absent
    assert [spec.lr_mult for spec in net.layer[2].param] == [0, 2]
    assert net.layer[2].param[0].name == "w"
    assert net.layer[3].type == "Softmax"


def test_layers_of_one_name_are_all_changed() -> None:
    net, _ = net_with("data.data_param.batch_size=4")
    assert [layer.data_param.batch_size for layer in net.layer[:2]] == [4, 4]


def test_a_phase_behind_the_name_is_about_nets_of_that_phase() -> None:
    given = ("data@TEST.data_param.batch_size=4", "fc@TRAIN.param={ lr_mult: 3 }")
    net, absent = net_with(*given, phase=TEST)
    assert net.layer[1].data_param.batch_size == 4
    assert not net.layer[3].param
    assert [override.path for override in absent] == ["fc@TRAIN.param"]


def test_a_layer_may_get_another_name_while_it_is_changed() -> None:
    net, absent = net_with("fc.name=new", "fc.param.0.lr_mult=5")
    assert not absent
    assert (net.layer[3].name, net.layer[3].param[0].lr_mult) == ("new", 5)


def test_fields_of_the_net_itself() -> None:
    net, _ = net_with("name=other", "force_backward=true", "state.stage=deep", "layer.3.type=Tile")
    assert (net.name, net.force_backward, net.state.stage) == ("other", True, ["deep"])
    assert net.layer[3].type == "Tile"


def test_a_block_that_the_schema_does_not_know_is_replaced_whole() -> None:
    net, _ = net_with("sin.sin_param={ amplitude: 2 }", "fc.cos_param={ phase: 1 }")
    blocks = [(block.name, block.text) for layer in net.layer[3:] for block in layer.unknown_param]
    assert blocks == [("cos_param", " phase: 1 "), ("sin_param", " amplitude: 2 ")]
    message = refusal("sin.sin_param.amplitude=2")
    assert message.endswith("Give the whole block: --set 'net.sin.sin_param={ ... }'.")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("base_l=1", "'base_l' is not a field of SolverParameter. Did you mean 'base_lr'?"),
        ("nonsense=1", "'nonsense' is not a field of SolverParameter. Correct the path."),
        ("base_lr=fast", "base_lr: expected a number, got 'fast'. Correct it."),
        ("base_lr=", "base_lr: expected a number, got the end of the file. Give base_lr a value."),
        ("max_iter=1.5", "max_iter: expected a whole number, got '1.5'. Correct it."),
        ("solver_mode=GPUS", "solver_mode: expected one of CPU, GPU, got 'GPUS'. Did you mean"),
        ("base_lr=1 max_iter: 3", "base_lr: expected one value, got more behind it ('max_iter')."),
        ("base_lr.x=1", "base_lr holds a single value: end the path there."),
        ("stepvalue.0.x=1", "stepvalue.0 holds a single value: end the path there."),
        ("stepvalue.x=1", "stepvalue is repeated: expected an index before 'x'."),
        ("stepvalue.3=1", "stepvalue: expected an index from 0 to 2, of which 2 adds a member"),
        ("stepvalue.-1=1", "stepvalue is repeated: expected an index before '-1'."),
        ("stepvalue.0=[1,2]", "stepvalue: expected one value, got 2. Leave out the index."),
        ("test_state.level=1", "test_state is repeated: expected an index before 'level'. Write"),
        ("train_state.0.level=1", "'0' is not a field of NetState. An index stands behind the"),
        ("train_state=deep", "train_state: expected a block { ... }, got 'deep'."),
        ("train_state={ level: 1", "the '{' of 'train_state' is not closed"),
    ],
)
def test_a_wrong_path_or_value_names_the_option(given: str, wanted: str) -> None:
    with pytest.raises(PrototxtError) as error:
        solver_with(given)
    assert str(error.value).startswith(f"--set {given}: {wanted}")


@pytest.mark.parametrize("given", ["base_lr", "=1", "", "net.=1"])
def test_an_assignment_needs_both_sides(given: str) -> None:
    with pytest.raises(PrototxtError, match=r"expected PATH=VALUE, as in base_lr=0\.01"):
        Override.parse(given)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("fd.type=1", "there is no layer 'fd'. The layers are data, fc.6/a, fc, sin."),
        ("fc.6/b.type=1", "'6/b' is not a field of LayerParameter. Correct the path."),
        ("dats.type=1", "there is no layer 'dats'. Did you mean 'data'?"),
        ("fc=1", "expected a field behind the layer's name, got none. Name one."),
        ("force_backwards=1", "Did you mean 'force_backward'?"),
        ("fcc=1", "Name a layer and its field, as in net.fc6.param.0.lr_mult=0."),
        ("fc.parm.0.lr_mult=1", "'parm' is not a field of LayerParameter. Did you mean 'param'?"),
        ("fc@TEST.type=1", "expected a net of phase TEST with layer 'fc', got none in this run"),
    ],
)
def test_a_path_into_no_layer_names_the_nearest(given: str, wanted: str) -> None:
    message = refusal(given)
    assert message.startswith(f"--set net.{given}: ")
    assert wanted in message
    assert message.endswith((".", "?"))
