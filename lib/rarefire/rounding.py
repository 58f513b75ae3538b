"""What rounding must not decide: orders, ties, the best of several, signs.

Sums are added in another order by another processor, another BLAS or another number of threads, and come
out otherwise in their last digits. Values that differ by no more than that are the same here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["SAME", "TIE", "first_largest", "levels", "upright"]

#: Differences below this, as a share of the largest value in size, are rounding; correlations are of size 1.
SAME = 1e-12
#: The same where one of several is chosen, by values that long computations lead to.
TIE = 1e-10


def levels(values: ArrayLike) -> NDArray[np.intp]:
    """Values as whole numbers, from 0 for the lowest on; those that are the same have the same.

    Parameters
    ----------
    values
        ``(n,)``, finite.

    Returns
    -------
    ndarray
        ``(n,)``, to sort or rank by.

    >>> levels([0.3, 0.1 + 0.2, 0.1])
    array([1, 1, 0])
    """
    given = np.asarray(values, dtype=np.float64)
    rising = np.argsort(given, kind="stable")
    steps = np.diff(given[rising], prepend=given[rising][:1]) > SAME * np.abs(given).max(initial=0)
    found = np.empty(len(given), dtype=np.intp)
    found[rising] = np.cumsum(steps)
    return found


def first_largest(values: ArrayLike, *, within: float = SAME) -> int:
    """Index of the largest value; of the first, where several are the same. NaN is none.

    Parameters
    ----------
    values
        ``(n,)``, at least one a number.
    within
        Values that are less by no more than this share of the largest in size are the same.

    >>> first_largest([0.3, np.nan, 0.1 + 0.2, 0.1])
    0
    """
    given = np.asarray(values, dtype=np.float64)
    least = np.nanmax(given) - within * np.nanmax(np.abs(given))
    return int(np.flatnonzero(given >= least)[0])


def upright(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(n_columns,)``, 1 or −1: the sign with which the largest entry of a column, in size, is positive."""
    return np.array([np.copysign(1.0, column[first_largest(np.abs(column))]) for column in columns.T])
