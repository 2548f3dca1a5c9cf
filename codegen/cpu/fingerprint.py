"""What compiled kernels depend on besides their source: the compiler and the machine."""

from __future__ import annotations

import functools
import hashlib
import sys
from pathlib import Path

import llvmlite

from graphkeras.codegen import flags
from graphkeras.codegen.cpu import target


def _compiler_files() -> list[Path]:
    """The modules that kernel sources import (they define intrinsics) and the compiler itself."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    own = {"compiler.py", "target.py", "plan_codes.py"}
    return [f for f in files if f.name in own or b"from llvmlite import ir" in f.read_bytes()]


def fingerprint() -> str:
    """Hash of versions, the front end, compiler sources, and the processor compiled for."""
    return _fingerprint(flags.FRONTEND.value, target.processor())


@functools.cache
def _fingerprint(frontend: str, cpu: target.Processor) -> str:
    digest = hashlib.blake2b(digest_size=16)
    python = ".".join(map(str, sys.version_info[:2]))
    parts = [
        _numba_version() if frontend == "numba" else "",
        llvmlite.__version__,
        python,
        sys.platform,
        cpu.triple,
        cpu.name,
        cpu.features,
    ]
    digest.update("\0".join(parts).encode())
    for file in _compiler_files():
        digest.update(b"\0" + file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _numba_version() -> str:
    from importlib.metadata import version  # not `numba.__version__`: importing it takes most of a second

    return version("numba")
