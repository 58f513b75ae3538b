"""Benchmarks against peers, in the same run. Tab-separated on standard output, a table on standard error.

Columns: name, ours_s, peer, peer_s, ratio, peak_mb (resident memory of this process so far).
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable

import numpy as np

from rarefire.curves import geometry_curve

COLUMNS = ("name", "ours_s", "peer", "peer_s", "ratio", "peak_mb")


def seconds(work: Callable[[], object], *, runs: int = 3) -> float:
    """Median wall time of a few runs."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def geometry(n: int, features: int) -> tuple[float, str, float]:
    """Every prefix against the whole; the peer makes both RDMs at three prefixes, extrapolated to all."""
    rng = np.random.default_rng(0)
    embedding = np.maximum(rng.normal(size=(n, features)) - rng.uniform(-1, 1.5, features), 0)
    order = np.arange(features)
    ours = seconds(lambda: geometry_curve(embedding, order))
    pairs = np.triu_indices(n, k=1)
    whole = np.corrcoef(embedding)[pairs]

    def naive(k: int) -> float:
        return float(np.corrcoef(np.corrcoef(embedding[:, :k])[pairs], whole)[0, 1])

    steps = [features // 4, features // 2, features]
    peer = seconds(lambda: [naive(k) for k in steps], runs=1) / len(steps) * features
    return ours, f"numpy.corrcoef per prefix ({len(steps)} of {features}, extrapolated)", peer


def main() -> None:
    """Run all, print both tables."""
    print("\t".join(COLUMNS))
    print(f"{'benchmark':<28}{'ours':>10}{'peer':>10}{'ratio':>9}", file=sys.stderr)
    for name, n, features in [("geometry-curve-2000", 2000, 84), ("geometry-curve", 5000, 84)]:
        ours, peer_name, peer = geometry(n, features)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        row = (name, f"{ours:.4f}", peer_name, f"{peer:.2f}", f"{peer / ours:.1f}", f"{peak:.0f}")
        print("\t".join(row), flush=True)
        print(f"{name:<28}{ours:>9.3f}s{peer:>9.1f}s{peer / ours:>8.0f}×", file=sys.stderr)


if __name__ == "__main__":
    main()
