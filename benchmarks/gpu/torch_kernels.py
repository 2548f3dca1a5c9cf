"""The cases in PyTorch, each as its users would write it for speed: cuBLAS, cuDNN and its own kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.conv_peers import torch_conv
from benchmarks.gpu.cases import TF32, KernelCase
from benchmarks.ops_cases import ADAM

Prepared = tuple[Callable[[int], None], Callable[[], list[np.ndarray]]]


def prepare(case: KernelCase, device: str) -> Prepared:
    """(run it so many times and wait, its results). On a GPU calls are replays of a captured graph of one."""
    import torch

    where = _place(torch, device)
    allow_tf32(torch, case.numbers == TF32)
    torch.backends.cudnn.benchmark = True
    torch.set_default_device(where)
    torch.set_default_dtype(getattr(torch, case.dtype))  # of what is made on the way
    given = [torch.from_numpy(a).to(where) for a in case.arrays()]
    given = [a.to(getattr(torch, case.dtype)) if a.is_floating_point() else a for a in given]
    call = _call(torch, case, given)
    made = call()
    step = call if where == "cpu" else captured(torch, call)

    def run(count: int) -> None:
        for _ in range(count):
            step()
        wait(torch, where)

    return run, lambda: [t.float().cpu().numpy() for t in (made if isinstance(made, tuple) else (made,))]


def _place(torch: Any, device: str) -> str:
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise RuntimeError("PyTorch sees no GPU")
    return device if device.startswith("cuda") else "cpu"


def allow_tf32(torch: Any, allowed: bool) -> None:
    """Whether products and convolutions of float32 may be rounded to tf32."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def wait(torch: Any, where: str) -> None:
    if where != "cpu":
        torch.cuda.synchronize()


def captured(torch: Any, call: Callable[[], Any]) -> Callable[[], Any]:
    """A replay of the call, without the cost of launching each kernel of it from Python; the call itself where it
    cannot be captured."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            call()
    except RuntimeError:
        torch.cuda.synchronize()
        return call
    return graph.replay


def copying(device: str, nbytes: int) -> Callable[[int], None]:
    """Copies of so many bytes by `copy_`."""
    import torch

    where = _place(torch, device)
    source, target = (torch.ones(nbytes, dtype=torch.uint8, device=where) for _ in range(2))

    def run(count: int) -> None:
        for _ in range(count):
            target.copy_(source)
        wait(torch, where)

    return run


def _call(torch: Any, case: KernelCase, a: list[Any]) -> Callable[[], Any]:
    kernel = case.case.kernel
    if kernel.startswith("conv"):
        return torch_conv(case.case, torch, *a)[0]
    if kernel.startswith("dot"):
        x, y = (m.T if form == "t" else m for form, m in zip(kernel[-2:], a, strict=True))
        return lambda: torch.mm(x, y)
    if kernel.startswith("attention"):
        return _attention(torch, case, a)
    if kernel == "adam":
        return _adam(torch, *a)
    f = torch.nn.functional
    index = a[-1].long() if kernel == "gather" else None
    calls: dict[str, Callable[[], Any]] = {
        "negate": lambda: torch.neg(a[0]),
        "gelu_residual": lambda: f.gelu(a[0] + a[1], approximate="tanh") + a[2],
        "softmax": lambda: torch.softmax(a[0], 1),
        "layer_norm": lambda: f.layer_norm(a[0], a[1].shape, a[1], a[2], 1e-6),
        "transpose": lambda: a[0].T.contiguous(),
        "sum_rows": lambda: a[0].sum(1),
        "sum_columns": lambda: a[0].sum(0),
        "sum_all": lambda: a[0].sum(),
        "max_rows": lambda: a[0].amax(1),
        "gather": lambda: torch.index_select(a[0], 0, index),
    }
    return calls[kernel]


def _attention(torch: Any, case: KernelCase, a: list[Any]) -> Callable[[], Any]:
    """Arrays are (batch, length, heads, width); PyTorch reads them as (batch, heads, length, width) in place."""
    p = dict(case.case.parameters)
    training = case.case.kernel == "attention_training"
    q, k, v = (x.transpose(1, 2).requires_grad_(training) for x in a[:3])
    attend = torch.nn.functional.scaled_dot_product_attention

    def call() -> Any:
        made = attend(q, k, v, is_causal=p["causal"], scale=p["scale"])
        out = made.transpose(1, 2)
        return (out.detach(), *torch.autograd.grad(out, (q, k, v), a[3])) if training else out

    return call


def _adam(torch: Any, w: Any, g: Any, *_: Any) -> Callable[[], Any]:
    """The fused optimizer of one weight; it makes its own moments."""
    weight = torch.nn.Parameter(w)
    weight.grad = g
    where = {"fused": True, "capturable": True} if w.is_cuda else {}
    step = torch.optim.Adam(
        [weight], lr=ADAM["rate"], betas=(ADAM["beta1"], ADAM["beta2"]), eps=ADAM["epsilon"], **where
    )
    return step.step
