"""What the lowering asks of the machine it makes kernels for.

A target owns a package of templates (modules that register emitters with `@lowers(..., target=name)`), the Body that
prints fused scalar code in its language, and the kernel that copies between layouts. Everything else, fusion, views,
destinations, the memory plan, is the same for all.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphkeras.codegen.body import Body
    from graphkeras.codegen.kernel import Instruction, Kernel, Step, View
    from graphkeras.codegen.lower import Lowering
    from graphkeras.codegen.program import Program


@dataclass(frozen=True)
class Target:
    """package: module path of the templates; templates: modules that register emitters on import.

    body_class, program_class: "module:Class" of the Body and of the Program that runs the plan.
    align: bytes to which buffers in the arena are aligned. counts: whether its Body computes what an index says
    (buffers that are Where.INDEX) instead of loading it. sums_rows: sums of rows at computed places (gradients of
    embeddings) take an epilogue. tuning: "module:function" that compiles kernels which will be measured against each
    other, "" where none are. arch: compute capability of the GPU to choose kernels for.
    """

    name: str
    package: str
    templates: tuple[str, ...]
    body_class: str
    program_class: str
    align: int = 64
    counts: bool = False
    tuning: str = ""
    sums_rows: bool = False
    arch: tuple[int, int] = (0, 0)

    def load_templates(self) -> None:
        for module in self.templates:
            importlib.import_module(f"{self.package}.{module}")
        importlib.import_module("graphkeras.codegen.control")

    def body(self, *args: Any) -> Body:
        """A Body that prints this target's language; arguments as for `Body`."""
        return _load(self.body_class)(*args)

    def program(self, *args: Any, **kwargs: Any) -> Program:
        """The Program of a plan; arguments as for `Program`."""
        return _load(self.program_class)(*args, **kwargs)

    def loop(self, ctx: Lowering, trips: int, body: list[Instruction], steps: Sequence[Step]) -> list[Instruction]:
        """Instructions that run `body` so many times (GPUs; the CPU's loops are made in `row_loop`)."""
        return importlib.import_module(f"{self.package}.resident").lower_loop(ctx, trips, body, steps)

    def compile_ahead(self, sources: Iterable[str]) -> None:
        """Compile candidates that will be measured (by the function that `tuning` names)."""
        _load(self.tuning)(sources)

    def copy_kernel(self, source: View, target: View) -> Kernel:
        """The kernel that copies between two layouts of one shape (of the target's module `pointwise`)."""
        return importlib.import_module(f"{self.package}.pointwise").copy_kernel(source, target)


def _load(path: str) -> Any:
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)


CPU = Target(
    "cpu",
    "graphkeras.codegen.cpu",
    (
        "attention",
        "attention_grad",
        "contract",
        "conv",
        "conv_grad",
        "pool",
        "gather",
        "row_sums",
        "sorting",
        "pointwise",
        "reduce",
    ),
    "graphkeras.codegen.body:Body",
    "graphkeras.codegen.program:Program",
    counts=True,
    tuning="graphkeras.codegen.cpu.tuning:compile_ahead",
    sums_rows=True,
)
