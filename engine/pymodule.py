"""Finding and importing the modules that hold Python layers.

They are looked for as if the working directory and the folders of the prototxt files stood at the
end of PYTHONPATH: after what the user has put into sys.path, before Python's own library. What
Caffe would find, is found; what Caffe would miss, may lie beside the net.

A module is imported once, under its own name. Nets in several folders may bring modules of the same
name, though: those of the folder that is imported from last are the ones in sys.modules, those
of the others are set aside and come back when their folder's turn comes.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from caffepy.engine.core import log

_added: list[str] = []  # what was put into sys.path for nets
_taken: dict[str, Path] = {}  # top-level modules imported from folders of nets, and these folders
_set_aside: dict[Path, dict[str, ModuleType]] = {}  # modules in the way of other nets', by folder


class TakenError(Exception):
    """Another module has the name of one that is to be imported. file: the other's."""

    def __init__(self, file: str) -> None:
        super().__init__(file)
        self.file = file


def search_path(folders: Sequence[Path]) -> list[str]:
    """sys.path as it is while the modules of a net are imported, whose files lie in `folders`."""
    entries = [entry for entry in sys.path if entry not in _added]
    library = _library_place(entries)
    users = entries[:library]
    own = dict.fromkeys(str(folder.resolve()) for folder in folders)
    return users + [entry for entry in own if entry not in users] + entries[library:]


def locate(name: str, folders: Sequence[Path]) -> ModuleSpec | None:
    """Where Python would find a module, dots and all; nothing is imported."""
    path: Sequence[str] = search_path(folders)
    spec: ModuleSpec | None = None
    parts = name.split(".")
    for place in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: place + 1]), path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or ())
    return spec


def import_module(name: str, folders: Sequence[Path]) -> ModuleType:
    """Imports a module for a net.

    Raises: TakenError; whatever the import raises, ModuleNotFoundError where there is none.
    """
    importlib.invalidate_caches()  # the file may have been written a moment ago
    _make_room(folders)
    path = search_path(folders)
    given = [entry for entry in sys.path if entry not in _added]
    earlier = [entry for entry in _added if entry not in path]
    _added[:] = [entry for entry in path if entry not in given] + earlier
    sys.path[:] = path
    _check_free(_top(name), folders)
    before = set(sys.modules)
    try:
        return importlib.import_module(name)
    finally:
        sys.path += earlier  # functions of other nets' modules may import more when they are called
        for new in {_top(key) for key in set(sys.modules) - before} & set(sys.modules):
            folder = _folder_loaded(new)
            if folder is not None and str(folder) in _added:
                _taken[new] = folder


def provide_caffe(layer_class: type) -> None:
    """Makes `import caffe` give this package's, the one whose Layer is `layer_class`, whatever else
    is installed or was imported under that name."""
    present = sys.modules.get("caffe")
    if getattr(present, "Layer", None) is layer_class:
        return
    if present is not None:
        log.warning(
            f"Another module named caffe was imported before, from '{present.__file__}'. Python "
            "layers get caffepy's from now on."
        )
    for name in [key for key in sys.modules if _top(key) == "caffe"]:
        del sys.modules[name]
    beside = Path(sys.modules["caffepy"].__path__[0]).parent
    spec = PathFinder.find_spec("caffe", [str(beside)])
    assert spec is not None, f"caffe is not beside caffepy in {beside}"
    assert spec.loader is not None, "it is a package with an __init__.py"
    module = importlib.util.module_from_spec(spec)
    sys.modules["caffe"] = module
    spec.loader.exec_module(module)


def _make_room(folders: Sequence[Path]) -> None:
    """Sets the modules aside that were imported for other nets and are not what this one would
    find, and brings back what was set aside in its folders."""
    moved = {folder for name, folder in _taken.items() if _folder_found(name, folders) != folder}
    for folder in moved:
        names = {name for name, lies in _taken.items() if lies == folder}
        shelf = _set_aside.setdefault(folder, {})
        for key in [key for key in sys.modules if _top(key) in names]:
            shelf[key] = sys.modules.pop(key)
        for name in names:
            del _taken[name]
    for folder in {folder.resolve() for folder in folders} - moved:
        for key, module in _set_aside.pop(folder, {}).items():
            sys.modules[key] = module
            _taken[_top(key)] = folder


def _check_free(top: str, folders: Sequence[Path]) -> None:
    """Raises: TakenError where a module of this name was imported from elsewhere, so that Python
    would give it instead of the one beside the net."""
    found = _folder_found(top, folders)
    if (
        top in sys.modules
        and top != "__main__"
        and str(found) in _added
        and found != _folder_loaded(top)
    ):
        raise TakenError(vars(sys.modules[top]).get("__file__") or "Python itself")


def _library_place(entries: Sequence[str]) -> int:
    """The place of the standard library among the entries of sys.path; their end where it is not
    among them."""
    paths = sysconfig.get_paths()
    zipped = f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
    for place, entry in enumerate(entries):
        if entry in (paths["stdlib"], paths["platstdlib"]) or Path(entry).name == zipped:
            return place
    return len(entries)


def _top(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


def _folder_found(top: str, folders: Sequence[Path]) -> Path | None:
    """The folder in which a top-level module stands that a net would find."""
    spec = locate(top, folders)
    if spec is None:
        return None
    return _above(spec.origin, spec.submodule_search_locations or ())


def _folder_loaded(top: str) -> Path | None:
    """The folder in which a top-level module stands that was imported."""
    known = getattr(sys.modules[top], "__dict__", {})  # some import more at any other look
    return _above(known.get("__file__"), known.get("__path__", ()))


def _above(file: str | None, package: Iterable[str]) -> Path | None:
    """The folder around a module's file, or around its first folder where it is a package."""
    inside = next(iter(package), file)
    return None if inside is None else Path(inside).resolve().parent
