"""Telling of an exception in code that the user wrote: its traceback, without our own frames."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

from caffepy.engine.core.errors import NetError
from caffepy.engine.python2 import python2_hint

T = TypeVar("T")

_NOT_THE_USERS = ("caffepy", "caffe", "importlib")


def failure(error: BaseException) -> str:
    """`ValueError: wrong sizes.`, and what to do where the code is for Python 2.

    One paragraph that ends with a full stop.
    """
    text = " ".join(str(error).split()).rstrip(".")
    told = f"{type(error).__name__}: {text}." if text else f"{type(error).__name__}."
    hint = python2_hint(error)
    return f"{told} {hint}" if hint else told


def user_traceback(error: BaseException) -> str:
    """The traceback as Python prints it, through the user's own files and what they call; '' where
    it does not pass through any."""
    told = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
    _leave_out_ours(told, error)
    in_a_file = isinstance(error, SyntaxError) or told.stack or told.__cause__ or told.__context__
    return "".join(told.format()).rstrip() if in_a_file else ""


def failure_message(what: str, error: BaseException, remedy: str) -> str:
    """`what: ValueError: wrong sizes. remedy`, and below it the user's traceback, if any. Of code
    for Python 2 the remedy is to convert it."""
    told = f"{what}: {failure(error)}"
    if not python2_hint(error):
        told += f" {remedy}"
    return "\n".join(filter(None, (told, user_traceback(error))))


def raising_as_user(code: Callable[[], T]) -> T:
    """Runs code of ours that runs the user's: what theirs raises comes out as it was, without our
    message around it, so that they may catch it by its type."""
    try:
        return code()
    except NetError as error:
        if not isinstance(error.__cause__, Exception):
            raise
        users = error.__cause__
    raise users


def _leave_out_ours(told: traceback.TracebackException, error: BaseException) -> None:
    frames = [
        (frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not _is_ours(frame)
    ]
    told.stack = traceback.StackSummary.extract(iter(frames))
    if told.__cause__ is not None and error.__cause__ is not None:
        _leave_out_ours(told.__cause__, error.__cause__)
    if told.__context__ is not None and error.__context__ is not None:
        _leave_out_ours(told.__context__, error.__context__)


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).split(".")[0] in _NOT_THE_USERS
