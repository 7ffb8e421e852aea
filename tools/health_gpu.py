"""What `caffepy doctor` looks at of GPUs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator

from caffepy.tools.finding import NOTE, Finding

LOST = {
    "cuDNN": "convolutions run by columns and cuBLAS",
    "cuDNN frontend": "convolutions run by columns and cuBLAS",
}  # what is missing without a package; the others come from elsewhere too


def findings(trained: Callable[[str, str], Finding]) -> Iterator[Finding]:
    """What there is for the GPU engine. trained: trains a small net, given the engine's name and
    what is known of it."""
    try:
        from caffepy.engine.ops.cuda import runtime, versions
        from caffepy.engine.ops.cuda.devices import PACKAGES
    except ImportError as error:  # a package is broken, as another finding says
        yield Finding("GPU", f"the engine does not load: {error}", NOTE, "Mend the packages first.")
        return
    reason = runtime.available()
    if reason is None:
        for index in range(runtime.count()):
            about = runtime.properties(index)
            yield Finding(
                f"GPU {index}",
                f"{about.name}, compute capability {about.major}.{about.minor}, "
                f"{about.total_memory / 2**30:.1f} GiB",
            )
    elif importlib.util.find_spec("cupy") is None:  # nobody wants one
        yield Finding("GPU", f"none that can be used: {reason}")
        return
    else:
        yield Finding("GPU", "none that can be used", NOTE, reason)
    installed = versions.installed()
    for name in versions.PACKAGES:
        if name in installed or name not in LOST:
            yield Finding(name, installed.get(name, "no package; the system may have it"))
        else:
            remedy = f"Without it {LOST[name]}. Install {PACKAGES}."
            yield Finding(name, "not installed", NOTE, remedy)
    if reason is None:
        yield trained("cuda", "engine on GPU 0")
