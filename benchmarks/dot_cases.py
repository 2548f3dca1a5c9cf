"""Products that are timed alone: every form, batched, odd and large sizes, skinny ones of training, with epilogues."""

from __future__ import annotations

from benchmarks.op_case import Case

FORMS = ("nn", "nt", "tn", "tt")


def dot(m: int, k: int, n: int, form: str = "nn", batch: int = 0) -> Case:
    """form: n or t for each operand; tn is the product of a kernel gradient, nt that of an input gradient."""
    first = (batch,) if batch else ()
    a = (*first, *((m, k) if form[0] == "n" else (k, m)))
    b = (*first, *((k, n) if form[1] == "n" else (n, k)))
    label = "x".join(str(x) for x in (*first, m, k, n))
    times = max(batch, 1)
    return Case(f"dot_{form}", label, (a, b), 2.0 * times * m * k * n, 4.0 * times * (m * k + k * n + m * n))


def dense(m: int, k: int, n: int, residual: bool = False) -> Case:
    """relu(x w + b), with another array of the result's size added to it or not."""
    extra = ((m, n),) if residual else ()
    nbytes = 4.0 * (m * k + k * n + n + m * n * (1 + len(extra)))
    flops = 2.0 * m * k * n + (2.0 + len(extra)) * m * n
    return Case(
        "dense_residual" if residual else "dense_relu", f"{m}x{k}x{n}", ((m, k), (k, n), (n,), *extra), flops, nbytes
    )


def all_products() -> list[Case]:
    """Shapes of training steps first, large ones after."""
    made = [dot(32, 784, 256), dot(32, 256, 10), dot(784, 32, 256, "tn"), dot(32, 256, 256, "nt")]
    made += [dot(128, 784, 256), dot(784, 128, 256, "tn"), dot(128, 256, 784, "nt")]
    made += [dot(1, 784, 256), dot(1, 1024, 1024), dot(1, 4096, 1024), dot(1, 1024, 4096, "nt")]
    made += [dot(8, 1024, 1024), dot(1024, 8, 1024, "tn"), dot(8, 1024, 1024, "nt"), dot(1024, 1, 1024, "tn")]
    made += [dot(32, 10, 4096), dot(32, 4096, 10), dot(256, 4096, 1024), dot(4096, 256, 1024, "tn")]
    made += [dot(256, 1024, 4096, "nt"), dot(6400, 32, 32), dot(6400, 32, 128), dot(32, 6400, 128, "tn")]
    made += [dot(200, 32, 200, "nt", 64), dot(200, 200, 32, "nn", 64), dot(17, 33, 65, "tn", 100)]
    for m, k, n in ((127, 255, 511), (513, 511, 509), (512, 512, 512), (1024, 1024, 1024), (2048, 2048, 2048)):
        made += [dot(m, k, n, form) for form in FORMS]
    made += [dense(32, 784, 256), dense(1024, 1024, 1024)]
    return [*made, dense(32, 784, 256, True), dense(6400, 32, 32, True), dense(1024, 1024, 1024, True)]
