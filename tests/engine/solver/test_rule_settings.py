"""What a solver's parameters say of its update rule: which one, and with which numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffepy.engine.core.errors import PrototxtError
from caffepy.engine.solver.updates.rule import find_rule
from tests.engine.solver.running import Settings, text_settings


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SGD", "SGD"),
        ("NESTEROV", "Nesterov"),
        ("ADAGRAD", "AdaGrad"),
        ("RMSPROP", "RMSProp"),
        ("ADADELTA", "AdaDelta"),
        ("ADAM", "Adam"),
    ],
)
def test_the_old_solver_type_means_the_same_rule(old: str, new: str, tmp_path: Path) -> None:
    path = tmp_path / "solver.prototxt"
    path.write_text(f"solver_type: {old}")
    assert find_rule(Settings.read(path)).type == new


@pytest.mark.parametrize(
    ("solver_text", "message"),
    [
        ('type: "AdaGrad" momentum: 0.9', "momentum: expected none .*AdaGrad.*got 0.9"),
        ('type: "RMSProp" momentum: 0.9', "momentum: expected none .*RMSProp.*got 0.9"),
        ('type: "RMSProp" rms_decay: 1', "rms_decay: expected 0 or more and below 1 .*got 1"),
        ('type: "RMSProp" rms_decay: -0.5', "rms_decay: .*got -0.5"),
        ('type: "Adam" momentum: 1', "momentum: .*Adam, got 1"),
        ('type: "Adam" momentum2: 1.5', "momentum2: .*Adam, got 1.5"),
        ('type: "AdamW" momentum2: 1', "momentum2: .*AdamW, got 1"),
        ('type: "AdaDelta" momentum: 2', "momentum: .*AdaDelta, got 2"),
        ('type: "Adam" delta: 0', "delta: expected a value above 0, .*got 0"),
        ('type: "AdaGrad" delta: -1', "delta: .*got -1"),
        ('type: "Adam" larc: true', "larc: expected type SGD or LARS beside it, got Adam"),
        ('type: "Nesterov" local_lr_auto: true', "local_lr_auto: expected type SGD or LARS"),
        ("larc: true local_lr_auto: true", "local_lr_auto: expected one of .*got both"),
        ("larc: true larc_eta: 0", "larc_eta: expected a value above 0, got 0"),
        ('larc: true larc_policy: "clamp"', "larc_policy: expected one of clip, scale"),
        ('type: "LARS" local_gw_ratio: -1', "local_gw_ratio: expected a value above 0, got -1"),
        ('type: "ADAM"', "type: expected one of .*got 'ADAM'"),
        ('type: "AdamX"', "got 'AdamX'. Did you mean 'Adam"),
    ],
)
def test_numbers_that_a_rule_cannot_use_are_refused(solver_text: str, message: str) -> None:
    with pytest.raises(PrototxtError, match=message):
        find_rule(text_settings(solver_text))


@pytest.mark.parametrize(("name", "usual"), [("Adam", 0.9), ("AdamW", 0.9), ("AdaDelta", 0.95)])
def test_a_missing_momentum_is_warned_about(
    name: str, usual: float, caplog: pytest.LogCaptureFixture
) -> None:
    find_rule(text_settings(f'type: "{name}" momentum: 0.5'))
    assert not caplog.text
    find_rule(text_settings(f'type: "{name}"'))
    assert f"remembers one iteration only. {usual} is usual." in caplog.text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amsgrad", "true"),
        ("lr_dropout", "0.5"),
        ("momentum_policy", '"poly"'),
        ("decoupled_wd_t0", "1000"),
    ],
)
def test_a_field_of_a_fork_that_would_change_the_numbers_is_refused(field: str, value: str) -> None:
    with pytest.raises(PrototxtError, match=f"{field}: .*not implemented here"):
        text_settings(f"{field}: {value}").check()


def test_a_field_of_a_fork_that_changes_nothing_is_passed_over() -> None:
    text_settings('amsgrad: false momentum_policy: "fixed" clip_weights: -1').check()
