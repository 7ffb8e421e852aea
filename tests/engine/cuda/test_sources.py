"""The CUDA sources of the engine compile for the GPUs that it runs on."""

from __future__ import annotations

import pytest

from caffepy.engine.ops.cuda import nvrtc
from caffepy.engine.ops.cuda.sources import families, source
from caffepy.engine.ops.kernels import signatures


@pytest.mark.skipif(nvrtc.available() is not None, reason=str(nvrtc.available()))
@pytest.mark.parametrize("element", ["float", "double"])
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize("family", list(families()))
def test_a_family_compiles(family: str, arch: str, element: str) -> None:
    text = source(family)
    ptx = nvrtc.compile_ptx(text, f"{family}.cu", arch=arch, element=element).decode()
    for kernel in signatures(text, f"{family}.cu"):
        assert f".visible .entry {kernel}(" in ptx
