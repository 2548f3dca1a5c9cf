"""Products in other libraries: BLAS as NumPy and PyTorch call it, oneDNN through PyTorch, XLA through JAX."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.conv_peers import Prepared
from benchmarks.op_case import Case


def is_product(case: Case) -> bool:
    return case.kernel.startswith(("dot", "dense"))


def _turned(case: Case, x: Any, y: Any) -> tuple[Any, Any]:
    """The operands of the product as views of those of the case."""
    forms = case.kernel[-2:] if case.kernel.startswith("dot") else "nn"
    x, y = (m.swapaxes(-1, -2) if form == "t" else m for form, m in zip(forms, (x, y), strict=True))
    return x, y


def numpy_product(case: Case, *a: np.ndarray) -> Prepared:
    x, y = _turned(case, *a[:2])
    out = np.empty((*x.shape[:-1], y.shape[-1]), np.float32)

    def run() -> np.ndarray:
        np.matmul(x, y, out=out)
        if case.kernel.startswith("dense"):
            np.add(out, a[2], out=out)
            np.maximum(out, 0, out=out)
        return np.add(out, a[3], out=out) if case.kernel == "dense_residual" else out

    return run, lambda: run().copy()


def torch_product(case: Case, torch: Any, *a: Any) -> Prepared:
    """PyTorch's own choice of library; weights of dense layers in the layout of torch.nn.Linear."""
    import torch.nn.functional as f

    if case.kernel.startswith("dot"):
        x, y = _turned(case, *a)
        out = torch.empty((*x.shape[:-1], y.shape[-1]))
        return lambda: torch.matmul(x, y, out=out), lambda: torch.matmul(x, y).numpy()
    w = a[1].T.contiguous()

    def run() -> Any:
        y = f.linear(a[0], w, a[2]).relu_()
        return y.add_(a[3]) if case.kernel == "dense_residual" else y

    return run, lambda: run().numpy()


def onednn_product(case: Case, torch: Any, *a: Any) -> Prepared | None:
    """oneDNN itself, with both operands already contiguous along the depth: what its kernels like best."""
    if len(case.inputs[0]) != 2:
        return None
    linear = torch.ops.mkldnn._linear_pointwise
    x, y = _turned(case, *a[:2])
    x, w = x.contiguous(), y.T.contiguous()
    bias, after = (a[2], "relu") if case.kernel.startswith("dense") else (None, "none")

    def run() -> Any:
        y = linear(x, w, bias, after, [], "")
        return y.add_(a[3]) if case.kernel == "dense_residual" else y

    return run, lambda: run().numpy()


def jax_product(case: Case, jax: Any) -> Any:
    def product(*a: Any) -> Any:
        x, y = _turned(case, *a[:2])
        out = x @ y
        if case.kernel.startswith("dense"):
            out = jax.nn.relu(out + a[2])
        return out + a[3] if case.kernel == "dense_residual" else out

    return product
