"""Which nets a solver names, and in which state each is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from caffepy.engine.solver.settings import Settings
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import TEST, TRAIN, NetParameter, NetState, Phase
from caffepy.proto.overrides import Override, override_net, refuse_absent
from caffepy.proto.upgrade import upgrade_net

TRAIN_FIELDS = ("net", "net_param", "train_net", "train_net_param")
TEST_FIELDS = ("test_net", "test_net_param")


@dataclass(frozen=True)
class NetSource:
    """A net to be built.

    label: what it was named by, as the log says it.  folders: where relative files are looked for.
    absent: the overrides of layers that it does not have.
    """

    param: NetParameter
    state: NetState
    label: str
    folders: tuple[Path, ...]
    absent: tuple[Override, ...] = ()


def net_sources(settings: Settings) -> tuple[NetSource, list[NetSource]]:
    """The train net and the test nets. Raises: PrototxtError as the two functions below; also where
    an override is about a layer that none of the nets has."""
    train, tests = train_source(settings), test_sources(settings)
    for override in train.absent:
        if all(override in test.absent for test in tests):
            refuse_absent(override, [train.param, *(test.param for test in tests)])
    return train, tests


def train_source(settings: Settings) -> NetSource:
    """The train net. Raises: PrototxtError unless exactly one field names it."""
    given = [field for field in TRAIN_FIELDS if settings.given(field)]
    if len(given) != 1:
        settings.refuse(
            given[1] if given else "net",
            f"expected exactly one of {', '.join(TRAIN_FIELDS)}, got "
            f"{' and '.join(given) or 'none'}. Name the train net with one of them.",
        )
    field = given[0]
    overrides = [settings.param.train_state] if settings.given("train_state") else []
    if field.endswith("_param"):
        param = getattr(settings.param, field)
        return _source(settings, param, TRAIN, overrides, label=f"specified in {field}.")
    label = f"from {field} file: {getattr(settings.param, field)}"
    given_file = getattr(settings.param, field)
    return _source(settings, given_file, TRAIN, overrides, label=label, field=field)


def test_sources(settings: Settings) -> list[NetSource]:
    """The test nets: those of test_net_param, those of test_net, then one of net (net_param) for
    each remaining test_iter.

    Raises: PrototxtError where test_iter, test_state or test_interval do not fit their number.
    """
    param = settings.param
    named: list[tuple[NetParameter | str, str, str]] = [
        (given, "test_net_param", "test_net_param") for given in param.test_net_param
    ]
    named += [(given, f"test_net file: {given}", "test_net") for given in param.test_net]
    generic = next((field for field in ("net_param", "net") if settings.given(field)), None)
    if len(param.test_iter) < len(named) or (generic is None and len(param.test_iter) > len(named)):
        settings.refuse(
            "test_iter",
            f"expected one for each test net ({len(named)}), got {len(param.test_iter)}. Give each "
            "test net its number of batches.",
        )
    for _ in range(len(param.test_iter) - len(named)):
        label = "net_param" if generic == "net_param" else f"net file: {param.net}"
        named.append((getattr(param, str(generic)), label, str(generic)))
    if len(param.test_state) not in (0, len(named)):
        settings.refuse(
            "test_state",
            f"expected none or one for each test net ({len(named)}), got {len(param.test_state)}. "
            "Give each its own, or remove them.",
        )
    if named and param.test_interval <= 0:
        settings.refuse(
            "test_interval",
            f"expected at least 1, since there are {len(named)} test net(s), got "
            f"{param.test_interval}. Set it, or remove test_iter.",
        )
    return [
        _source(
            settings,
            given,
            TEST,
            param.test_state[index : index + 1],
            label=f"specified by {label}",
            field="" if field.endswith("_param") else field,
        )
        for index, (given, label, field) in enumerate(named)
    ]


def find_file(name: str, folders: Sequence[Path]) -> Path | None:
    """The first existing file of a name that may be relative to one of the folders."""
    return next((path for folder in folders if (path := folder / name).is_file()), None)


def _source(
    settings: Settings,
    given: NetParameter | str,
    phase: Phase,
    states: Sequence[NetState],
    *,
    label: str,
    field: str = "",
) -> NetSource:
    """field: where the file's name stands. The state: the phase, over it the net's own state, over
    it that of the solver."""
    folders = settings.folders
    if isinstance(given, str):
        path = find_file(given, folders)
        if not given:
            settings.refuse(field, "expected the path of a prototxt, got ''. Name the net's file.")
        if path is None:
            places = " or ".join(f"'{folder / given}'" for folder in dict.fromkeys(folders))
            settings.refuse(field, f"there is no file {places}. Fix the path.")
        given = text.read(path, NetParameter)
        folders = tuple(dict.fromkeys((*folders, path.parent)))
    absent: Sequence[Override] = ()
    if settings.overrides:
        given, absent = override_net(upgrade_net(given), settings.overrides, phase)
    state = NetState(phase=phase)
    state.MergeFrom(given.state)
    for over in states:
        state.MergeFrom(over)
    return NetSource(given, state, label, folders, tuple(absent))
