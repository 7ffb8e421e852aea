"""Layer types from outside the tree: Python files, modules, and installed packages.

A file or module registers layers with `@register_layer("Type")` when it is imported. Installed
packages name such modules as entry points of the group `caffepy.layers`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

from caffepy.engine.core import log
from caffepy.engine.core.errors import CaffepyError, NetError
from caffepy.engine.core.layer import Layer
from caffepy.engine.core.record import Step
from caffepy.engine.core.registry import registering
from caffepy.engine.usercode import failure, failure_message, user_traceback
from caffepy.proto.errors import did_you_mean

GROUP = "caffepy.layers"

_modules: dict[str, ModuleType] = {}  # what was imported here, by file or name
_entries: set[str] = set()  # the entry points that were tried


def load_layers(*names: str | os.PathLike[str]) -> None:
    """Imports Python files or modules that register layer types, as `--layers` does: see `load`.

    Raises: NetError where there is none, or an import fails; with the user's own traceback.
    """
    for name in names:
        load(os.fspath(name), "load_layers")


def load(name: str, asked: str = "--layers") -> None:
    """Imports a Python file or module, so that the layers in it are registered; a second time does
    nothing.

    name: of a file, relative to the working directory (`mylayers.py`), or of a module
    (`package.mylayers`), which may also lie in the working directory. Warns where it registers no
    layer.
    asked: what named it, for messages.
    Raises: NetError where there is none, or the import fails; with the user's own traceback.
    """
    is_file = name.endswith(".py") or not all(map(str.isidentifier, name.split(".")))
    path = _existing_file(name, asked) if is_file else None
    key = str(path or name)
    if key in _modules:
        return
    imported = _imported(path) if path else sys.modules.get(name)
    if imported is not None:
        _modules[key] = imported
        return
    try:
        with registering() as types:
            module = _import_file(path) if path else _import_module(name, asked)
    except (Exception, SystemExit) as error:
        raise NetError(_import_failure(name, path, error, asked)) from error
    _modules[key] = module
    if types:
        log.info(f"Layer types of {name}: {', '.join(types)}")
    else:
        log.warning(
            f'{name} registers no layer. Put @register_layer("Type") before the class, of '
            "caffepy.engine.core.registry."
        )


def load_installed() -> None:
    """Imports what installed packages name as entry points `caffepy.layers`, once. One that fails
    is left out, with a warning that names its package."""
    for entry in importlib.metadata.entry_points(group=GROUP):
        if entry.value in _entries:
            continue
        _entries.add(entry.value)
        package = entry.dist.metadata["Name"] if entry.dist else "unknown"
        try:
            with registering() as types:
                entry.load()
        except (Exception, SystemExit) as error:
            what = (
                f"entry point '{entry.name} = {entry.value}' ({GROUP}) of the installed package "
                f"'{package}': its layers are left out"
            )
            log.warning(failure_message(what, error, "Update or uninstall that package."))
            continue
        module = sys.modules.get(entry.module)
        if module is not None:
            _modules[entry.value] = module
        if types:
            log.info(f"Layer types of the installed package {package}: {', '.join(types)}")


def failure_in_layer(error: BaseException) -> str:
    """What to say of an exception from a layer that was loaded here, with the user's traceback; ''
    where it does not come from one."""
    roots = {module.__name__.split(".", maxsplit=1)[0] for module in _modules.values()}
    layer = step = ""
    place = error.__traceback__
    while place is not None:
        runs = place.tb_frame.f_locals.get("self")
        if isinstance(runs, Layer):
            layer = layer or runs.where
        elif isinstance(runs, Step):
            step = step or f"layer '{runs.layer}'"
        if str(place.tb_frame.f_globals.get("__name__")).split(".", maxsplit=1)[0] in roots:
            told = user_traceback(error.with_traceback(place))
            return f"{layer or step or 'a layer'}: {failure(error)} Correct the layer.\n{told}"
        place = place.tb_next
    return ""


def _existing_file(name: str, asked: str) -> Path:
    """The file of that name. Raises: NetError where there is none."""
    path = Path(name)
    if path.is_file():
        return path.resolve()
    what, remedy = "none", ""
    if path.is_dir():
        what = "a folder"
        remedy = " Name a file in it, or, for a package, the module with dots."
    elif path.parent.is_dir():
        remedy = did_you_mean(path.name, (other.name for other in path.parent.glob("*.py")))
    remedy = remedy or f" Fix the path, which is relative to '{Path().resolve()}'."
    raise NetError(f"{asked} {name}: expected a Python file, got {what}.{remedy}")


def _imported(path: Path) -> ModuleType | None:
    """The module of this process that is that file, if any."""
    for module in list(sys.modules.values()):
        file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
        if isinstance(file, str) and Path(file).name == path.name and Path(file).resolve() == path:
            return module
    return None


def _import_file(path: Path) -> ModuleType:
    """Runs a file as the module of its name, so that `import` gives the same one afterwards. What
    lies beside it can be imported."""
    name = path.stem
    if name in sys.modules or name in sys.stdlib_module_names or not name.isidentifier():
        name = f"layers_{len(_modules)}_{name}"
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "the name ends with .py"
    assert spec.loader is not None, "files have one"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _import_module(name: str, asked: str) -> ModuleType:
    """Imports a module by its dotted name. Raises: NetError where there is none."""
    folder = str(Path().resolve())
    if folder not in sys.path:  # the command `caffepy` starts without it
        sys.path.append(folder)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # something that the module itself imports
        beside = {f"{one.stem}.py" for one in Path().glob("*.py")}
        remedy = did_you_mean(f"{name}.py", beside) or (
            " Correct the name, or add its folder to the environment variable PYTHONPATH."
        )
        raise NetError(
            f"{asked} {name}: expected a file that ends with .py or a module, got a module that "
            f"is not in '{folder}', PYTHONPATH or the installed packages.{remedy}"
        ) from None


def _import_failure(name: str, path: Path | None, error: BaseException, asked: str) -> str:
    """What to say of a file or module that could not be imported."""
    if isinstance(error, SyntaxError):
        file = name if path and error.filename == str(path) else error.filename
        where = f"{file}:{error.lineno}"
    else:
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if path is not None and Path(frame.filename) == path
        ]
        where = f"{name}:{lines[-1]}" if lines else name
    if isinstance(error, CaffepyError):
        text = str(error)
        return text if text.startswith(asked) else f"{where}: {asked}: {text}"
    remedy = "Correct the file."
    if isinstance(error, ModuleNotFoundError):
        remedy = "Install what it needs, or correct the import."
    return failure_message(f"{where}: {asked}: it cannot be imported", error, remedy)
