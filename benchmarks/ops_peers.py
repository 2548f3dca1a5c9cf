"""Cases of `ops` in NumPy, PyTorch and JAX, each as that library's users would write it for speed.

`prepare(library, case)` gives (run once and wait for the result, the first result as an array), or None where the
library has no such kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.conv_peers import Prepared, jax_conv, torch_conv
from benchmarks.dot_peers import is_product, jax_product, numpy_product, onednn_product, torch_product
from benchmarks.op_case import Case
from benchmarks.ops_cases import ADAM, TOP


def prepare(library: str, case: Case) -> Prepared | None:
    make = {"numpy": _numpy, "torch": _torch, "onednn": _onednn, "jax": _jax}[library]
    return make(case, *case.arrays())


def _family(case: Case) -> str:
    return "dot" if is_product(case) else "conv" if case.kernel.startswith("conv") else case.kernel


# -- NumPy ------------------------------------------------------------------------------------------
def _numpy(case: Case, *a: np.ndarray) -> Prepared | None:
    if _family(case) == "conv":
        return None  # NumPy has no convolution
    if is_product(case):
        return numpy_product(case, *a)
    out = np.empty_like(a[0])
    calls: dict[str, Callable[[], Any]] = {
        "call": lambda: np.add(a[0], np.float32(1), out=out),
        "softmax": lambda: _np_softmax(a[0]),
        "layer_norm": lambda: _np_norm(*a),
        "bias_relu": lambda: np.maximum(np.add(a[0], a[1], out=out), 0, out=out),
        "sum_rows": lambda: a[0].sum(1),
        "sum_columns": lambda: a[0].sum(0),
        "sum_all": lambda: a[0].sum(),
        "max_rows": lambda: a[0].max(1),
        "argmax_rows": lambda: a[0].argmax(1),
        "argmax_columns": lambda: a[0].argmax(0),
        "top_k": lambda: -np.sort(np.partition(-a[0], TOP, axis=1)[:, :TOP], axis=1),
        "adam": lambda: _np_adam(*a, out),
        "table_adam": lambda: _np_table_adam(*a, out),
        "gather": lambda: np.take(a[0], a[1], axis=0, mode="clip"),
    }
    run = calls[case.kernel]
    return run, lambda: np.array(run())


def _np_softmax(x: np.ndarray) -> np.ndarray:
    e = x - x.max(1, keepdims=True)
    np.exp(e, out=e)
    e /= e.sum(1, keepdims=True)
    return e


def _np_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
    y = x - x.mean(1, keepdims=True)
    y /= np.sqrt(np.square(y).mean(1, keepdims=True) + np.float32(1e-6))
    y *= gamma
    y += beta
    return y


def _np_adam(w: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, t: np.ndarray) -> np.ndarray:
    m += np.multiply(np.subtract(g, m, out=t), np.float32(1 - ADAM["beta1"]), out=t)
    np.multiply(g, g, out=t)
    t -= v
    t *= np.float32(1 - ADAM["beta2"])
    v += t
    np.sqrt(v, out=t)
    t += np.float32(ADAM["epsilon"])
    np.divide(m, t, out=t)
    t *= np.float32(ADAM["rate"])
    w -= t
    return w


def _np_table_adam(w: np.ndarray, m: np.ndarray, v: np.ndarray, rows: np.ndarray, places: np.ndarray, t: np.ndarray):
    g = np.zeros_like(w)
    np.add.at(g, places, rows)
    return _np_adam(w, g, m, v, t)


# -- PyTorch ----------------------------------------------------------------------------------------
def _torch(case: Case, *arrays: np.ndarray) -> Prepared | None:
    import torch
    import torch.nn.functional as f

    torch.set_grad_enabled(False)
    a = [torch.from_numpy(x.copy()) for x in arrays]
    if _family(case) == "conv":
        return torch_conv(case, torch, *a)
    if is_product(case):
        return torch_product(case, torch, *a)
    if case.kernel == "table_adam":
        w, m, v, rows, places = a
        places = places.long()
        return _torch_adam(torch, w, lambda: torch.zeros_like(w).index_add_(0, places, rows), m, v)
    if case.kernel == "adam":
        return _torch_adam(torch, a[0], lambda: a[1], a[2], a[3])
    index = a[-1].long() if case.indices else None
    calls: dict[str, Callable[[], Any]] = {
        "call": lambda: a[0] + 1.0,
        "softmax": lambda: torch.softmax(a[0], 1),
        "layer_norm": lambda: f.layer_norm(a[0], a[1].shape, a[1], a[2], 1e-6),
        "bias_relu": lambda: (a[0] + a[1]).relu_(),
        "sum_rows": lambda: a[0].sum(1),
        "sum_columns": lambda: a[0].sum(0),
        "sum_all": lambda: a[0].sum(),
        "max_rows": lambda: a[0].amax(1),
        "argmax_rows": lambda: a[0].argmax(1),
        "argmax_columns": lambda: a[0].argmax(0),
        "top_k": lambda: torch.topk(a[0], TOP, 1).values,
        "gather": lambda: torch.index_select(a[0], 0, index),
    }
    run = calls[case.kernel]
    return run, lambda: run().numpy()


def _onednn(case: Case, *arrays: np.ndarray) -> Prepared | None:
    if not is_product(case):
        return None  # what PyTorch leaves to oneDNN anyway
    import torch

    torch.set_grad_enabled(False)
    return onednn_product(case, torch, *(torch.from_numpy(x.copy()) for x in arrays))


def _torch_adam(torch: Any, w: Any, gradient: Callable[[], Any], m: Any, v: Any) -> Prepared:
    """PyTorch's fused optimizer kernel."""
    step = torch.tensor(1e6)  # bias corrections are 1 then, as in the other libraries' version

    def run() -> Any:
        more = dict(amsgrad=False, lr=ADAM["rate"], beta1=ADAM["beta1"], beta2=ADAM["beta2"], weight_decay=0.0)
        torch._fused_adam_([w], [gradient()], [m], [v], [], [step], eps=ADAM["epsilon"], maximize=False, **more)
        return w

    return run, lambda: run().numpy().copy()


# -- JAX --------------------------------------------------------------------------------------------
def _jax(case: Case, *arrays: np.ndarray) -> Prepared | None:
    import jax
    import jax.numpy as jnp

    a = [jnp.asarray(x) for x in arrays]
    if case.kernel == "adam":
        return _jax_adam(jax, a[0], lambda w, g: g, a[2], a[3], a[1])
    if case.kernel == "table_adam":
        w, m, v, rows, places = a
        return _jax_adam(jax, w, lambda w, rows, places: jnp.zeros_like(w).at[places].add(rows), m, v, rows, places)
    if is_product(case):
        fn = jax.jit(jax_product(case, jax))
    else:
        fn = jax.jit(jax_conv(case, jax) if _family(case) == "conv" else _jax_function(case, jax, jnp))
    return lambda: fn(*a).block_until_ready(), lambda: np.asarray(fn(*a))


def _jax_function(case: Case, jax: Any, jnp: Any) -> Callable[..., Any]:
    def norm(x: Any, gamma: Any, beta: Any) -> Any:
        mean = x.mean(1, keepdims=True)
        variance = jnp.square(x - mean).mean(1, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(variance + 1e-6) * gamma + beta

    calls: dict[str, Callable[..., Any]] = {
        "call": lambda x: x + 1.0,
        "softmax": lambda x: jax.nn.softmax(x, axis=1),
        "layer_norm": norm,
        "bias_relu": lambda x, b: jax.nn.relu(x + b),
        "sum_rows": lambda x: x.sum(1),
        "sum_columns": lambda x: x.sum(0),
        "sum_all": lambda x: x.sum(),
        "max_rows": lambda x: x.max(1),
        "argmax_rows": lambda x: jnp.argmax(x, 1),
        "argmax_columns": lambda x: jnp.argmax(x, 0),
        "top_k": lambda x: jax.lax.top_k(x, TOP)[0],
        "gather": lambda x, i: jnp.take(x, i, axis=0, mode="clip"),
    }
    return calls[_family(case)]


def _jax_adam(jax: Any, w: Any, gradient: Callable[..., Any], m: Any, v: Any, *rest: Any) -> Prepared:
    """gradient: of the weights and `rest`."""

    def update(w: Any, m: Any, v: Any, *rest: Any) -> Any:
        g = gradient(w, *rest)
        m = m + (g - m) * (1 - ADAM["beta1"])
        v = v + (g * g - v) * (1 - ADAM["beta2"])
        return w - ADAM["rate"] * m / (jax.numpy.sqrt(v) + ADAM["epsilon"]), m, v

    step = jax.jit(update, donate_argnums=(0, 1, 2))
    state = [w, m, v]

    def run() -> Any:
        state[:] = step(*state, *rest)
        return state[0].block_until_ready()

    return run, lambda: np.asarray(run())
