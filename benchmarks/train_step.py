"""python -m benchmarks.train_step: whole training steps of well-known nets, engine against engine.

Forward, backward and update, the batch in memory; with --test a second table of forward passes in
phase TEST. All engines run in turns in one process; rounds in which other programs keep a CPU busy
are taken again, as the lines say. ms are medians over the rounds. x torch says how many times as
fast as the faster of PyTorch's two memory formats; geometric means and the lowest stand at the end.
Peak memory is of a process of its own, above what its imports take. --account says where the time
of the engine's steps goes.

With --gpu all of this is about one GPU: see benchmarks/gpu_train_step.py and docs/gpu.md.

PyTorch takes part where it is installed. numpy's matrix products have all threads while the engine
numpy runs, and one while any other does.
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib.metadata
import importlib.util
import math
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import threadpoolctl

from benchmarks import gpu_train_step
from benchmarks.account import Account, account
from benchmarks.caffe_binary import CaffeError, time_caffe
from benchmarks.ceilings import Ceilings, ceilings
from benchmarks.contenders import OURS, TORCH, OurStep, make_step
from benchmarks.memory import peak_bytes
from benchmarks.nets import NETS
from benchmarks.rounds import measure
from caffepy.engine.ops.cuda.backend import PRECISIONS
from caffepy.engine.ops.onednn.library import available, library
from caffepy.proto.caffe_pb2 import Phase

WIDTHS = (22, 21, 10, 10, 10, 10, 9, 10)
HEADINGS = ("net (batch)", "engine", "images/s", "ms", "fastest", "slowest", "x torch", "peak MB")
TITLES = {"TRAIN": "Training step", "TEST": "Forward in phase TEST"}
CAFFE = "caffe"


class Table:
    """Lines as they come, of plain text or of markdown, and at the end what is to be said of all.

    ratios: to PyTorch's time, by engine, then by net's title.
    """

    def __init__(self, markdown: bool) -> None:
        self.markdown = markdown
        self.notes: list[str] = []
        self.ratios: dict[str, dict[str, float]] = {}

    def start(self, title: str) -> None:
        print(f"\n### {title}\n" if self.markdown else f"\n{title}")
        self._print(HEADINGS)
        if self.markdown:
            self._print(("---", "---", *["---:"] * (len(HEADINGS) - 2)))

    def add(
        self, net: str, engine: str, times: Sequence[float], torch: float | None, peak: int | None
    ) -> None:
        """times: milliseconds: the median, the fastest, the slowest.  torch: of its faster format.
        peak: bytes."""
        chosen = NETS[net]
        ratio = torch / times[0] if torch is not None else None
        if ratio is not None and engine in OURS:
            self.ratios.setdefault(engine, {})[chosen.title] = ratio
        self._print(
            (
                f"{chosen.title} ({chosen.batch})",
                engine,
                f"{chosen.batch / times[0] * 1e3:.1f}",
                *(f"{ms:.2f}" for ms in times),
                "-" if ratio is None else f"{ratio:.2f}",
                "-" if peak is None else f"{peak / 1e6:.0f}",
            )
        )

    def note(self, net: str, text: str) -> None:
        """A line about the net before it, in markdown after the table."""
        if self.markdown:
            self.notes.append(f"{NETS[net].title}: {text}")
        else:
            print(f"  {text}", flush=True)

    def end(self) -> None:
        """Prints the means and the notes."""
        lines = []
        for engine, ratios in self.ratios.items():
            mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
            lowest = min(ratios, key=lambda title: ratios[title])
            lines.append(
                f"{engine}: {mean:.2f} times as fast as the faster PyTorch format (geometric mean "
                f"of {len(ratios)}), lowest {ratios[lowest]:.2f} ({lowest})"
            )
        print()
        for line in (*lines, *self.notes):
            print(f"- {line}" if self.markdown else line)

    def _print(self, cells: Sequence[str]) -> None:
        if self.markdown:
            print(f"| {' | '.join(cells)} |", flush=True)
            return
        padded = [
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, WIDTHS, strict=True))
        ]
        print("".join(padded).rstrip(), flush=True)


def main() -> None:
    """Prints the tables with their means, then the accounts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nets", default=",".join(NETS), help="default: all")
    parser.add_argument(
        "--engines", help=f"of {', '.join((*OURS, 'torch'))}; default: all that are installed"
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.5, help="per engine and round")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--test", action="store_true", help="also forward in phase TEST")
    parser.add_argument("--account", action="store_true", help="where the time of a step goes")
    parser.add_argument("--no-memory", action="store_true", help="leave peak memory out")
    parser.add_argument(
        "--caffe", metavar="PATH", help="a caffe binary to time by its `caffe time`"
    )
    parser.add_argument("--gpu", metavar="ID", help="train on this GPU; --engines caffepy,torch")
    parser.add_argument("--precision", choices=PRECISIONS, default="tf32", help="with --gpu")
    parser.add_argument("--batch", type=int, help="with --gpu: of all nets, instead of their own")
    parser.add_argument("--markdown", action="store_true", help="print tables of markdown")
    given = parser.parse_args()
    if given.rounds < 1 or given.threads < 1:
        parser.error("--rounds, --threads: expected at least 1.")
    nets = _chosen(parser, "--nets", given.nets, NETS)
    if given.gpu is not None:
        gpu_train_step.run(parser, nets, given)
        return
    engines = _engines(parser, given.engines)
    for line in _heading(given.threads, engines):
        print(line)
    accounts = _Accounts(given.threads) if given.account else None
    for phase in ("TRAIN", "TEST") if given.test else ("TRAIN",):
        _run_phase(phase, nets, engines, accounts, given)
    if accounts is not None:
        accounts.print(given.markdown)


class _Accounts:
    """The accounts of a run, against the best that the machine did between them."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._ceilings = Ceilings(0, 0)
        self._found: list[tuple[str, Account]] = []

    def add(self, title: str, step: OurStep) -> None:
        self._ceilings = self._ceilings.best(ceilings(self._threads))
        self._found.append((title, account(step)))

    def print(self, markdown: bool) -> None:
        best, fence = self._ceilings, ["```"] * markdown
        lines = [f"ceilings: sgemm {best.gflops:.0f} Gflop/s, copy {best.gb:.1f} GB/s"]
        for title, one in self._found:
            lines += [title, *one.lines(best)]
        heading = f"\n{'### ' * markdown}Where the time goes{chr(10) * markdown}"
        print("\n".join([heading, *fence, *lines, *fence]))


def _run_phase(
    phase: str,
    nets: Sequence[str],
    engines: Sequence[str],
    accounts: _Accounts | None,
    given: argparse.Namespace,
) -> None:
    """Prints the table of a phase, and adds to the accounts."""
    table = Table(given.markdown)
    table.start(f"{TITLES[phase]}, {given.threads} threads")
    for net in nets:
        param, number = NETS[net].param(), Phase.Value(phase)
        # oneDNN's library first: PyTorch makes its OpenMP visible to what is loaded after it
        steps = {name: make_step(name, param, number, given.threads) for name in engines}
        around = {
            name: functools.partial(
                threadpoolctl.threadpool_limits,
                given.threads if name == "numpy" else 1,
                user_api="blas",
            )
            for name in engines
            if name in OURS
        }
        measured = measure(steps, given.rounds, given.seconds, around=around)
        medians = measured.medians()
        torch = min((medians[name] for name in engines if name in TORCH), default=None)
        for name in engines:
            peak = None if given.no_memory else peak_bytes(net, name, phase, given.threads)
            values = measured.ms[name]
            times = medians[name], min(values), max(values)
            table.add(net, name, times, torch, peak)
        if given.caffe:
            _add_caffe(table, net, phase, torch, given)
        table.note(net, str(measured))
        for name, step in steps.items():
            if accounts is not None and isinstance(step, OurStep):
                with around[name]():
                    accounts.add(f"{NETS[net].title}, {name}: {TITLES[phase]}", step)
        steps.clear()
        gc.collect()
    table.end()


def _add_caffe(
    table: Table, net: str, phase: str, torch: float | None, given: argparse.Namespace
) -> None:
    """The row of the caffe binary. Raises: SystemExit where it does not run."""
    try:
        ms = time_caffe(given.caffe, NETS[net].param(), phase, given.rounds, given.threads)
    except CaffeError as error:
        raise SystemExit(str(error)) from None
    update = ", no update" if phase == "TRAIN" else ""
    table.add(net, f"{CAFFE}{update}", (ms, ms, ms), torch, None)


def _chosen(
    parser: argparse.ArgumentParser, option: str, text: str, known: Iterable[str]
) -> list[str]:
    """The names in a list with commas. Ends the program where one is unknown."""
    names = text.split(",")
    for name in names:
        if name not in known:
            parser.error(f"{option}: expected some of {', '.join(known)}, got '{name}'.")
    return names


def _engines(parser: argparse.ArgumentParser, text: str | None) -> list[str]:
    """Who takes part, ours first. Ends the program where one that was asked for is missing."""
    missing = {"onednn": available()}
    if importlib.util.find_spec("torch") is None:
        missing["torch"] = "PyTorch is not installed"
    if text is None:
        names = [name for name in (*OURS, "torch") if missing.get(name) is None]
    else:
        names = _chosen(parser, "--engines", text, (*OURS, "torch"))
        for name in names:
            if (reason := missing.get(name)) is not None:
                parser.error(f"--engines: {name}: {reason}. Leave it out, or install it.")
    return [name for name in OURS if name in names] + list(TORCH) * ("torch" in names)


def _heading(threads: int, engines: Sequence[str]) -> Iterable[str]:
    """The command, what it ran on, and the versions."""
    yield f"python -m benchmarks.train_step {' '.join(sys.argv[1:])}".rstrip()
    yield f"machine: {_processor()}, {os.cpu_count()} CPUs; {threads} threads"
    versions = [f"Python {platform.python_version()}", f"numpy {np.__version__}"]
    if "onednn" in engines:
        versions.append(f"oneDNN {library().version}")
    if TORCH[0] in engines:
        versions.append(f"PyTorch {importlib.metadata.version('torch')}")
    yield ", ".join(versions)


def _processor() -> str:
    """The CPU's name and what it computes with, as far as the system says."""
    cpuinfo = Path("/proc/cpuinfo")
    found: dict[str, str] = {}
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            name, _, value = line.partition(":")
            found.setdefault(name.strip(), value.strip())
    known = [flag for flag in ("avx512f", "avx2") if flag in found.get("flags", "").split()]
    return " ".join(
        [found.get("model name", platform.processor() or platform.machine()), *known[:1]]
    )


if __name__ == "__main__":
    main()
