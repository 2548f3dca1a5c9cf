"""Packing of (x, y, sample_weight), class weights, and conversion of anything array-like to NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphkeras.core import config, tree
from graphkeras.core.tensor import Operators


def unpack_x_y_sample_weight(data: Any) -> tuple[Any, Any, Any]:
    """The parts of a batch; what is absent is None.

    Args:
        data: `x`, or a tuple or list `(x,)`, `(x, y)` or `(x, y, sample_weight)`.

    Example:

    >>> unpack_x_y_sample_weight(("features", "labels"))
    ('features', 'labels', None)
    """
    if isinstance(data, list):
        data = tuple(data)
    if not isinstance(data, tuple):
        return data, None, None
    if not 1 <= len(data) <= 3:
        raise ValueError(
            "A batch must be `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)`. "
            f"Received a tuple of {len(data)} elements: {data}. Several inputs go into one list or dict: ([x1, x2], y)."
        )
    x, y, sample_weight = (*data, None, None)[:3]
    return x, y, sample_weight


def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """The inverse of `unpack_x_y_sample_weight`; a lone `x` stays bare unless it is itself a list or tuple.

    Example:

    >>> pack_x_y_sample_weight("features", "labels")
    ('features', 'labels')
    """
    if y is None:
        return (x,) if isinstance(x, (tuple, list)) else x
    return (x, y) if sample_weight is None else (x, y, sample_weight)


def class_weight_to_sample_weights(y: Any, class_weight: Mapping[Any, float]) -> np.ndarray:
    """One weight per sample from weights per class; classes that are not named weigh 1.

    Args:
        y: labels of shape (n,) or (n, 1), or one-hot (n, classes).
        class_weight: {class index: weight}.
    """
    weights = checked_class_weight(class_weight)
    labels = np.asarray(y)
    if labels.ndim > 1:
        labels = np.argmax(labels, axis=-1) if labels.shape[-1] != 1 else labels[..., 0]
    labels = np.round(labels).astype("int64")
    if labels.ndim != 1:
        raise ValueError(
            "`class_weight` gives one weight per sample, so the targets must have shape (n,), (n, 1) or (n, classes). "
            f"Received targets of shape {np.shape(y)}. Use `sample_weight` with a weight per position instead."
        )
    result = np.ones(labels.shape, dtype=config.floatx())
    for index, weight in weights.items():
        result[labels == index] = weight
    return result


def checked_class_weight(class_weight: Mapping[Any, float]) -> dict[int, float]:
    """Class weights with integer keys; keys such as "1" are understood, others are an error."""
    if not isinstance(class_weight, Mapping):
        raise ValueError(
            f"`class_weight` must be a dict {{class index: weight}}. Received: {class_weight!r} "
            f"(of type {type(class_weight).__name__})"
        )
    result = {}
    for key, weight in class_weight.items():
        try:
            index = int(key)
            if index != float(key):
                raise ValueError
            result[index] = float(weight)
        except (TypeError, ValueError):
            raise ValueError(
                "`class_weight` must map class indices (integers) to weights (numbers). "
                f"Received the entry {key!r}: {weight!r}. Replace class names by their integer labels."
            ) from None
    return result


# -- array-likes ------------------------------------------------------------------------------------
def _mro_names(x: Any) -> list[tuple[str, str]]:
    return [(c.__name__, str(c.__module__)) for c in type(x).__mro__]


def is_scipy_sparse(x: Any) -> bool:
    """True for scipy's sparse matrices and arrays."""
    return hasattr(x, "tocsr") and any(m.startswith("scipy.sparse") for _, m in _mro_names(x))


def is_pandas(x: Any, kind: str) -> bool:
    """True for a pandas "DataFrame" or "Series" (pandas is not imported)."""
    return any(n == kind and m.startswith("pandas") for n, m in _mro_names(x))


def is_array_like(x: Any) -> bool:
    """True for what counts as one array: NumPy, tensors of any framework, pandas, scipy sparse."""
    if isinstance(x, (np.ndarray, Operators)) or is_scipy_sparse(x):
        return True
    return not isinstance(x, (np.generic, type)) and hasattr(x, "__array__") and hasattr(x, "shape")


def to_numpy(x: Any) -> np.ndarray:
    """One array-like as NumPy (no copy where possible); a pandas Series becomes a column, sparse becomes dense."""
    if isinstance(x, np.ndarray):
        return x
    if is_scipy_sparse(x):
        return np.asarray(x.todense())
    if is_pandas(x, "Series"):
        return x.to_numpy()[:, None]
    if is_pandas(x, "DataFrame"):
        return x.to_numpy()
    if any(m.startswith("torch") for _, m in _mro_names(x)) and hasattr(x, "detach"):
        x = x.detach().cpu()
    return np.asarray(x)


def standardize(x: Any, label: str) -> Any:
    """One leaf of the data as a contiguous array that a step can read: floats in floatx, ints and bools kept.

    label: what the user calls it ("x", "y", ...), for error messages.
    """
    array = to_numpy(x)
    kind = array.dtype.kind
    if kind in "OSUTMmV" and array.dtype.name not in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        raise ValueError(
            f"Invalid dtype: {array.dtype.name} of `{label}` (shape {array.shape}). Expected numbers or bools. "
            "Turn strings into integers with StringLookup or pandas.factorize, and arrays of lists of one length "
            "into one array with np.stack."
        )
    if kind == "f" or kind == "V":
        array = array.astype(config.floatx(), copy=False)
    return np.ascontiguousarray(array) if array.ndim else array


def labelled_leaves(x: Any, y: Any, sample_weight: Any) -> list[tuple[str, Any]]:
    """Pairs (what the user calls it, leaf), without the Nones: x, y[1], sample_weight['a'] ..."""
    found = []
    for label, part in (("x", x), ("y", y), ("sample_weight", sample_weight)):
        for path, leaf in tree.flatten_with_path(part):
            if leaf is not None:
                found.append((label + "".join(f"[{p!r}]" for p in path), leaf))
    return found


def check_data_cardinality(x: Any, y: Any = None, sample_weight: Any = None) -> int:
    """The common number of samples. Raises ValueError if the arrays disagree or hold none."""
    sizes = []
    for label, leaf in labelled_leaves(x, y, sample_weight):
        shape = tuple(leaf.shape)
        if not shape:
            raise ValueError(f"`{label}` is a scalar. Expected an array whose first axis counts the samples.")
        sizes.append((label, int(shape[0])))
    if not sizes:
        raise ValueError("No data: `x`, `y` and `sample_weight` hold no array.")
    if len({n for _, n in sizes}) > 1:
        listed = "\n".join(f"'{label}' sizes: {n}" for label, n in sizes)
        raise ValueError(
            "Data cardinality is ambiguous. Make sure all arrays contain the same number of samples (their first "
            f"axis).\n{listed}"
        )
    if sizes[0][1] == 0:
        raise ValueError("The data is empty: `x` has 0 samples. Expected at least one.")
    return sizes[0][1]
