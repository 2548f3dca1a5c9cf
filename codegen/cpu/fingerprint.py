"""What compiled kernels depend on besides their source: the compiler and the machine."""

from __future__ import annotations

import functools
import hashlib
import sys
from importlib.metadata import version
from pathlib import Path

from graphkeras.codegen import flags
from graphkeras.codegen.cpu import target


def _compiler_files() -> list[Path]:
    """The modules that kernel sources import (they define intrinsics) and the compiler itself."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    own = {"compiler.py", "target.py", "plan_codes.py"}
    return [f for f in files if f.name in own or b"from llvmlite import ir" in f.read_bytes()]


def fingerprint() -> str:
    """Hash of versions, the front end, compiler sources, and the CPU's name and features."""
    return _fingerprint(flags.FRONTEND.value)


@functools.cache
def _fingerprint(frontend: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    python = ".".join(map(str, sys.version_info[:2]))
    parts = [version("numba") if frontend == "numba" else "", version("llvmlite"), python, sys.platform, *target.cpu()]
    digest.update("\0".join(parts).encode())
    for file in _compiler_files():
        digest.update(b"\0" + file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
