"""What signals do to a training, as Caffe's flags say: stop it, take a snapshot, or nothing."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Protocol, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
EFFECTS = ("stop", "snapshot", "none")


class Stoppable(Protocol):
    """What signals act on: a solver."""

    def request_stop(self) -> None: ...

    def request_snapshot(self) -> None: ...


def signal_options(command: F) -> F:
    """--sigint_effect, --sighup_effect."""
    return _options(command, "What {} does to the training. [default: {}]")


def ignored_signal_options(command: F) -> F:
    """The same, for commands that take them as Caffe's do, and train nothing."""
    return _options(command, "Accepted as Caffe accepts it: only `train` uses it.", expose=False)


def _options(command: F, text: str, expose: bool = True) -> F:
    for name, default, event in (
        ("sighup", "snapshot", "SIGHUP, sent when the terminal closes,"),
        ("sigint", "stop", "Ctrl-C (SIGINT)"),
    ):
        option = click.option(
            f"--{name}_effect",
            type=click.Choice(EFFECTS),
            default=default,
            expose_value=expose,
            help=text.format(event, default),
        )
        command = option(command)
    return command


class Signals:
    """While it is active, signals have their effect on a run.

    SIGINT and SIGHUP: as told.  SIGTERM, which schedulers send before they kill: stop.
    stop: the run ends after the iteration, with its last snapshot; the same signal again ends the
    process at once.

    Attributes: status, the process's exit status for how the run ended: 143 after SIGTERM, so that
    a script does not take the training for finished; else 0.
    """

    def __init__(self, run: Stoppable, sigint: str, sighup: str) -> None:
        self._run = run
        self._effects = {signal.SIGINT: sigint, signal.SIGTERM: "stop"}
        if hasattr(signal, "SIGHUP"):  # not on Windows
            self._effects[signal.SIGHUP] = sighup
        self._stopping: set[int] = set()

    @property
    def status(self) -> int:
        return 128 + signal.SIGTERM if signal.SIGTERM in self._stopping else 0

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Puts the handlers in, and afterwards those that were there before."""
        before = {number: signal.signal(number, self._handle) for number in self._effects}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        effect = self._effects[signal.Signals(number)]
        if effect == "snapshot":
            self._run.request_snapshot()
            _say(f"{name}: a snapshot is taken after this iteration.")
        elif effect == "stop" and number not in self._stopping:
            self._stopping.add(number)
            self._run.request_stop()
            _say(f"{name}: stopping after this iteration. Send it again to end at once.")
        elif effect == "stop":
            if number == signal.SIGTERM:
                raise SystemExit(128 + number)
            raise KeyboardInterrupt


def _say(message: str) -> None:
    """Prints a line from a signal handler: the log and its stream may be amid another one."""
    start = "\n" if os.isatty(2) else ""  # behind ^C, or a progress line
    with contextlib.suppress(OSError):  # nobody listens any more
        os.write(2, f"{start}caffepy: {message}\n".encode())
