"""Convolutions in PyTorch and JAX, in the layout that each likes best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.op_case import Case

Prepared = tuple[Callable[[], Any], Callable[[], np.ndarray]]


def torch_conv(case: Case, torch: Any, x: Any, y: Any) -> Prepared:
    """Channels last in memory, which is what oneDNN likes best; with one axis, an image of one row has that layout."""
    p = dict(case.parameters)
    spatial = len(p["strides"])
    row = (1,) if spatial == 1 else ()
    axes = list(range(spatial + len(row)))
    layout = torch.channels_last_3d if spatial == 3 else torch.channels_last

    def image(t: Any) -> Any:  # N, C, *spatial in shape, channels last in memory
        t = t.reshape(t.shape[0], *row, *t.shape[1:])
        return t.permute(0, len(axes) + 1, *(a + 1 for a in axes))

    def kernel(t: Any) -> Any:
        t = t.reshape(*row, *t.shape)
        return t.permute(len(axes) + 1, len(axes), *axes).contiguous(memory_format=layout)

    def images(t: Any) -> np.ndarray:
        return t.permute(0, *(a + 2 for a in axes), 1).squeeze(1 if row else ()).contiguous().numpy()

    strides, pads = [*row, *p["strides"]], [*(0 for _ in row), *p["pads"]]
    dilation, none = [p["dilation"]] * len(axes), [0] * len(axes)
    if case.kernel == "conv":
        u, w = image(x), kernel(y)
        forward = torch.conv3d if spatial == 3 else torch.conv2d
        run = lambda: forward(u, w, None, strides, pads, dilation, p["groups"])  # noqa: E731
        return run, lambda: images(run())
    if case.kernel == "conv_transposed":
        u, w = image(x), kernel(y)
        transposed = torch.nn.functional.conv_transpose3d if spatial == 3 else torch.nn.functional.conv_transpose2d
        run = lambda: transposed(u, w, None, strides, pads, none, p["groups"], dilation)  # noqa: E731
        return run, lambda: images(run())
    grad = torch.ops.aten.convolution_backward
    rest = (None, strides, pads, dilation, False, none, p["groups"])
    if case.kernel == "conv_input_grad":
        u, w, dy = image(torch.zeros(p["x"])), kernel(y), image(x)
        run = lambda: grad(dy, u, w, *rest, [True, False, False])[0]  # noqa: E731
        return run, lambda: images(run())
    u, dy, w = image(x), image(y), kernel(torch.zeros(p["w"]))
    run = lambda: grad(dy, u, w, *rest, [False, True, False])[1]  # noqa: E731
    return run, lambda: run().permute(*(a + 2 for a in axes), 1, 0).squeeze(0 if row else ()).contiguous().numpy()


def jax_conv(case: Case, jax: Any) -> Callable[..., Any]:
    p = dict(case.parameters)
    space = "DHW"[-len(p["strides"]) :]

    def conv(x: Any, w: Any) -> Any:
        names = (f"N{space}C", f"{space}IO", f"N{space}C")
        return jax.lax.conv_general_dilated(
            x, w, p["strides"], [(n, n) for n in p["pads"]], dimension_numbers=names,
            rhs_dilation=(p["dilation"],) * len(space), feature_group_count=p["groups"],
        )  # fmt: skip

    zeros = jax.numpy.zeros
    if case.kernel == "conv":
        return conv
    if case.kernel == "conv_kernel_grad":
        return lambda x, dy: jax.vjp(lambda w: conv(x, w), zeros(p["w"]))[1](dy)[0]
    return lambda dy, w: jax.vjp(lambda x: conv(x, w), zeros(p["x"]))[1](dy)[0]
