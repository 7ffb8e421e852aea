"""Documents whose text is followed: its files written, its commands run, what they print compared.

A file block begins with a comment that is the file's name. A console block holds commands behind
`$ `, each followed by lines of its output, in their order; `...` stands for anything. `2> FILE` at
the end of a command sends its log there too.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GLOG_PREFIX = re.compile(r"^[IWE]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ \w+\.py:\d+\] ", re.MULTILINE)


@dataclass
class Tutorial:
    """The folder in which a document was followed, and what its commands printed.

    environment: variables for the commands.
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    printed: dict[str, str] = field(default_factory=dict)

    def follow(self, document: str) -> None:
        """Does what a document in docs/ says, from top to bottom."""
        text = (ROOT / "docs" / document).read_text(encoding="utf-8")
        for kind, content in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            if kind == "console":
                for command, shown in commands(content):
                    self.run(command, shown)
            else:
                name = re.match(r"# (\S+)\n", content)
                assert name is not None, f"a {kind} block without the name of its file"
                (self.folder / name[1]).write_text(content, encoding="utf-8")

    def run(self, command: str, shown: list[str]) -> None:
        """Runs a command, and looks for the lines that the text shows of it, in their order."""
        site = self.folder / "site"
        words = shlex.split(command)
        log = None
        if words[-2:-1] == ["2>"]:
            *words, _, log = words
        if words[0] == "caffepy":
            words = ["python", "-m", "caffepy", *words[1:]]
        elif words[:2] == ["pip", "install"]:  # from the folder alone, and into it
            site.mkdir()
            quick = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--no-compile"]
            words = ["python", "-m", "pip", "install", *quick, "--target", str(site), *words[2:]]
        program = {"python": sys.executable, "sh": "sh"}[words[0]]
        places = os.pathsep.join((str(ROOT), str(site)))
        ours = {"PYTHONPATH": places, "PYTHONDONTWRITEBYTECODE": "1"}
        ended = subprocess.run(
            [program, *words[1:]],
            cwd=self.folder,
            env={**os.environ, **ours, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if log is not None:
            (self.folder / log).write_text(ended.stderr, encoding="utf-8")
        output = GLOG_PREFIX.sub("", ended.stdout + ended.stderr)
        refused = any(line.startswith("caffepy: ") for line in shown)
        assert ended.returncode == (1 if refused else 0), output
        rest = output
        for line in shown:
            pattern = ".*".join(map(re.escape, line.split("...")))
            found = re.search(f"^{pattern}$", rest, re.MULTILINE)
            assert found, f"`{command}` does not print `{line}`, but:\n{rest}"
            rest = rest[found.end() :]
        self.printed[command] = output


def commands(console: str) -> list[tuple[str, list[str]]]:
    """Each command of a console block with the lines shown below it."""
    told: list[tuple[str, list[str]]] = []
    for line in console.splitlines():
        if line.startswith("$ "):
            told.append((line[2:], []))
        else:
            told[-1][1].append(line)
    return told
