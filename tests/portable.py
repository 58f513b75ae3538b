"""The numeric tests once more with other kernels: what an older, a newer, another processor would compute.

Numbers come from NumPy's own loops, OpenBLAS, torch, oneDNN, MKL and Numba. Each chooses its code by the
processor, and each can be told to choose otherwise. A variant is a process of its own; a line says what
really ran there, and a variant that did not take effect is a failure, as is a test.

``python tests/portable.py [variant …]``
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
X86 = platform.machine().lower() in ("x86_64", "amd64")

#: Modules in which results are compared, other than in pages; and what in them is long, not numeric.
NUMERIC = (
    *("block_tests", "blocks", "claims", "curves", "dimension", "ensembles", "error_rates", "explorer"),
    *("ghosts", "ghosts_by_class", "grams", "inference", "judgments", "lowlevel", "multiarrange", "naive"),
    "networks",
    *("orders", "pairs", "people", "people_by_class", "poz", "pruned_findings", "ratings", "rdm"),
    *("recipes", "record", "relus"),
    *("records", "records_ghosts", "records_gradient", "reliability", "resampling", "retrieval"),
    *("reweighting", "scorecard", "selection", "sequence_maps", "sequences", "similarity", "simulations"),
    *("subnetwork_findings", "subnetworks", "training", "transport", "units"),
)


@dataclass(frozen=True)
class Variant:
    """Kernels to ask for: the environment, and what :func:`kernels` must then say, as patterns."""

    environment: dict[str, str]
    expected: dict[str, str] = field(default_factory=dict)
    threads: int = 1
    x86: bool = True


VARIANTS = {
    # Vectors of two numbers, no fused multiplication and addition: a processor of 2008.
    "oldest": Variant(
        {
            "OPENBLAS_CORETYPE": "Prescott",
            "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
            "ATEN_CPU_CAPABILITY": "default",
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "MKL_CBWR": "COMPATIBLE",  # MKL_ENABLE_INSTRUCTIONS is for Intel's processors alone
            "NUMBA_CPU_NAME": "generic",
            "NUMBA_CPU_FEATURES": "",
        },
        {
            "OpenBLAS": "Prescott|Katmai",  # one code, by the first of its names
            "NumPy": "X86_V2",
            "torch": "DEFAULT",
            "oneDNN": "SSE4.1",
            "MKL": "COMPATIBLE",
            "Numba": "generic, 128 bits$",
        },
    ),
    # Vectors of four: most processors of the last ten years.
    "AVX2": Variant(
        {
            "OPENBLAS_CORETYPE": "Haswell",
            "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
            "ATEN_CPU_CAPABILITY": "avx2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "MKL_CBWR": "AVX2",
            "NUMBA_CPU_NAME": "haswell",
            "NUMBA_CPU_FEATURES": "+avx2,+fma",
        },
        {
            "OpenBLAS": "Haswell",
            "NumPy": "X86_V3",
            "torch": "AVX2",
            "oneDNN": "AVX2$",
            "MKL": "AVX2|AUTO",  # the latter on a processor that is not Intel's
            "Numba": "haswell, 256 bits, fused",
        },
    ),
    # Whatever each library takes to be best here, in two threads.
    "native": Variant({}, threads=2, x86=False),
}
CHOICES = sorted({name for variant in VARIANTS.values() for name in variant.environment})
THREADS = [f"{library}_NUM_THREADS" for library in ("OMP", "OPENBLAS", "MKL", "NUMBA")]


def main(names: list[str]) -> int:
    """Run variants at once, each in a process."""
    unknown = set(names) - set(VARIANTS)
    if unknown:
        print(f"no variant {', '.join(unknown)}. There are: {', '.join(VARIANTS)}", file=sys.stderr)
        return 2
    began, failed = time.monotonic(), []
    with ThreadPoolExecutor(len(VARIANTS)) as pool:
        runs = {name: pool.submit(run, name) for name in names or VARIANTS}
        for name, running in runs.items():
            status, said = running.result()
            print(f"\n=== {name}\n{said}", flush=True)
            failed += [name] * (status != 0)
    print(f"\n{', '.join(failed)} failed" if failed else "\nall agree", f"({time.monotonic() - began:.0f} s)")
    return 1 if failed else 0


def run(name: str) -> tuple[int, str]:
    """Status and what was said by a variant's process."""
    variant = VARIANTS[name]
    if variant.x86 and not X86:
        return 0, f"cannot exist on a processor of kind {platform.machine()}: left out"
    if name == "AVX2" and not has("X86_V3"):
        return 0, "cannot exist on a processor without AVX2: left out"
    own = {key: value for key, value in os.environ.items() if key not in CHOICES}
    own |= variant.environment | dict.fromkeys(THREADS, str(variant.threads))
    own["RAREFIRE_MIRROR"] = ""  # the real data sets take long, and `make test` has them
    command = [sys.executable, __file__, "--here", name]
    done = subprocess.run(
        command, cwd=ROOT, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.returncode, done.stdout.strip()


def has(feature: str) -> bool:
    """Whether NumPy finds a feature in this processor."""
    from numpy._core._multiarray_umath import __cpu_features__

    return bool(__cpu_features__.get(feature))


def here(name: str) -> int:
    """In a variant's own process: say which kernels run, check it, and run the tests."""
    import pytest

    found = kernels()
    print("; ".join(f"{library} {said}" for library, said in found.items()), flush=True)
    wrong = [
        f"{library}: {found[library]!r} instead of {pattern!r}"
        for library, pattern in VARIANTS[name].expected.items()
        if library in found and not re.search(pattern, found[library])
    ]
    if wrong:
        print(f"the variant did not take effect: {'; '.join(wrong)}")
        return 1
    files = [str(ROOT / "tests" / f"test_{module}.py") for module in NUMERIC]
    options = ["-q", "-r", "fE", "--no-header", "--tb=short", "-p", "no:cacheprovider", "-p", "no:xdist"]
    return int(pytest.main([*options, "-m", "not browser and not book and not long", *files]))


def kernels() -> dict[str, str]:
    """What each library runs, from the library itself."""
    import numba
    import numpy as np
    import scipy.linalg  # noqa: F401 (it has an OpenBLAS of its own)
    import threadpoolctl
    import torch
    from numpy._core import _multiarray_umath as umath

    libraries = [x for x in threadpoolctl.threadpool_info() if x["internal_api"] == "openblas"]
    vectors = [f for f in (*umath.__cpu_baseline__, *umath.__cpu_dispatch__) if umath.__cpu_features__.get(f)]
    found = {
        "OpenBLAS": ", ".join(sorted({x["architecture"] for x in libraries})) or "none",
        "NumPy": vectors[-1] if vectors else "baseline",
        "torch": torch.backends.cpu.get_cpu_capability(),
    }

    @numba.njit(fastmath=True)
    def compiled(x):  # type: ignore[no-untyped-def]
        total = 0.0
        for value in x:
            total += value * value
        return total

    compiled(np.ones(64))
    (code,) = compiled.inspect_asm().values()
    target = numba.core.registry.cpu_target.target_context.codegen().magic_tuple()[1]
    bits = max((width for r, width in (("xmm", 128), ("ymm", 256), ("zmm", 512)) if r in code), default=64)
    found["Numba"] = f"{target}, {bits} bits{', fused' * ('vfmadd' in code)}"
    image, kernel = torch.ones(4, 3, 32, 32), torch.ones(6, 3, 5, 5)
    if torch.backends.mkldnn.is_available():
        with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
            said = printed(lambda: torch.nn.functional.conv2d(image, kernel))
        found["oneDNN"] = "".join(re.findall(r"cpu,isa:(.*)", said)[:1])
    if torch.backends.mkl.is_available():
        with torch.backends.mkl.verbose(torch.backends.mkl.VERBOSE_ON):
            said = printed(lambda: torch.ones(64, 64) @ torch.ones(64, 64))
        found["MKL"] = "".join(re.findall(r"CNR:\S+", said)[:1])
    found["threads"] = f"{max((x['num_threads'] for x in libraries), default=1)}, {torch.get_num_threads()}"
    return found


def printed(call: object) -> str:
    """What a call into a library writes on standard output."""
    sys.stdout.flush()
    kept = os.dup(1)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        try:
            call()  # type: ignore[operator]
        finally:
            os.dup2(kept, 1)
            os.close(kept)
        file.seek(0)
        return file.read().decode(errors="replace")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        sys.exit(here(sys.argv[2]))
    sys.exit(main(sys.argv[1:]))
