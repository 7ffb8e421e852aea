"""caffepy link_tools: commands of Caffe's names, for scripts that call them by their paths."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

MARK = "written by `caffepy link_tools`"
# Caffe's programs, each with and without `.bin`, and the command that does their work.
PROGRAMS = {
    "caffe": "",
    "compute_image_mean": "compute_image_mean",
    "convert_imageset": "convert_imageset",
    "convert_annoset": "convert_annoset",  # this and the next two: of the SSD fork
    "create_label_map": "create_label_map",
    "get_image_size": "get_image_size",
    "extract_features": "extract_features",
    "upgrade_net_proto_text": "upgrade_net_proto_text",
    "upgrade_net_proto_binary": "upgrade_net_proto_binary",
    "upgrade_solver_proto_text": "upgrade_solver_proto_text",
    "device_query": "device_query",
    "convert_mnist_data": "convert_mnist",
    "convert_mnist_siamese_data": "convert_mnist --siamese --backend leveldb",  # as there
    "convert_cifar_data": "convert_cifar",
}
SCRIPTS = {"parse_log.py": "parse_log"}  # which are given to a Python


@click.command()
@click.argument("folder", metavar="DIR")
def command(folder: str) -> None:
    """Makes Caffe's tools in DIR: small files that run caffepy with this Python.

    Scripts that call `$TOOLS/convert_imageset` or `build/tools/caffe.bin` then run as they are:
    DIR is the folder they look in, such as build/tools, build/examples/mnist or tools/extra.
    """
    for path in link(Path(folder)):
        click.echo(path)


def link(folder: Path) -> list[Path]:
    """Writes the files; returns their paths. Files that this has written before are replaced.

    Raises: SaveError where the folder cannot be written to, or a file there is somebody else's.
    """
    from caffepy.engine.core.errors import SaveError
    from caffepy.engine.files import refusing, written_whole

    texts = dict(_texts())
    with refusing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name in texts:
        path = folder / name
        if os.path.lexists(path) and not _is_ours(path):
            raise SaveError(
                f"{path}: expected no such file, or one {MARK}, got another, perhaps Caffe's own. "
                "Remove it, or choose another folder."
            )
    for name, text in texts.items():
        with written_whole(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
            temporary.chmod(0o755)
    return [folder / name for name in texts]


def _texts() -> list[tuple[str, str]]:
    """The files' names and contents."""
    texts = []
    for name, words in PROGRAMS.items():
        if os.name == "nt":
            line = f'@"{sys.executable}" -m caffepy {words} %*'
            texts += [(f"{name}.cmd", f"@rem {MARK}\r\n{line}\r\n")]
            continue
        quoted = sys.executable.replace("'", r"'\''")
        line = f"exec '{quoted}' -m caffepy {words + ' ' if words else ''}\"$@\""
        shim = f"#!/bin/sh\n# {MARK}\n{line}\n"
        texts += [(name, shim), (f"{name}.bin", shim)]
    for name, word in SCRIPTS.items():
        run = f'from caffepy.tools.cli import main\n\nmain(["{word}", *sys.argv[1:]])\n'
        texts.append((name, f"#!{sys.executable}\n# {MARK}\nimport sys\n\n{run}"))
    return texts


def _is_ours(path: Path) -> bool:
    return path.is_file() and MARK.encode() in path.read_bytes()[:1000]
