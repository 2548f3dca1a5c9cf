"""Kernel source -> PTX -> cubin, without a GPU: Numba-CUDA is the front end, nvJitLink or ptxas the assembler.

A source defines `kernel` and constants that the compiler reads: SIGNATURE, one letter per parameter (p address,
i integer, f float64, t the description of an array, 128 bytes by value, of which the kernel sees the address), THREADS
per block, BLOCKS (optional: blocks that should fit on a multiprocessor), FEATURES (optional: "a" for instructions of
one architecture only, such as wgmma). Cubins are kept on disk beside the CPU's kernels.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from graphkeras.codegen import flags
from graphkeras.codegen.cuda.language import CONDITION

ENTRY = "gk_kernel"
"""Name of the kernel in PTX and cubin."""

PACKAGES = ("numba_cuda", "cuda.bindings", "cuda.core", "cuda.pathfinder")
_lock = threading.Lock()


class CudaUnavailable(RuntimeError):
    """A package, library or driver that CUDA needs is missing; the message names it and says what to install."""


class CudaCompileError(RuntimeError):
    """A kernel's source or PTX was refused; the message holds the compiler's own words."""


@dataclass(frozen=True)
class Cubin:
    """A compiled kernel and what the assembler said of it: registers per thread, bytes spilled and of local memory."""

    code: bytes
    registers: int
    spilled: int
    local: int
    shared: int


def missing_packages() -> list[str]:
    """The Python packages of `graphkeras[cuda]` that cannot be imported."""
    return [p for p in PACKAGES if not _importable(p)]


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def require_packages() -> None:
    """Raise CudaUnavailable if a package is missing; nothing is imported."""
    missing = missing_packages()
    if missing:
        raise CudaUnavailable(
            f"CUDA needs the package {missing[0]!r}, which is not installed. "
            "Install the extra: pip install 'graphkeras[cuda]'"
        )


def require() -> None:
    """Raise CudaUnavailable unless kernels can be compiled on this machine."""
    require_packages()
    try:
        _support()
    except Exception as error:
        raise CudaUnavailable(
            f"Numba-CUDA cannot be used: {type(error).__name__}: {error}. It needs NVVM and NVRTC of CUDA 12 or 13: "
            "pip install 'graphkeras[cuda]', or a CUDA toolkit in CUDA_HOME"
        ) from error


@functools.cache
def _support() -> Any:
    """The module of kernel functions, with Numba told not to look for a device."""
    dispatcher = importlib.import_module("numba.cuda.dispatcher")
    support = importlib.import_module("graphkeras.codegen.cuda.support")
    assert hasattr(dispatcher, "get_current_device"), "this numba-cuda compiles device functions in another way"
    return support


class _device_of:
    """Numba asks the current device for its architecture when it compiles a device function: answer for it."""

    def __init__(self, arch: tuple[int, int]) -> None:
        self._module: Any = importlib.import_module("numba.cuda.dispatcher")
        self._device = type("Device", (), {"compute_capability": arch})

    def __enter__(self) -> None:
        self._saved = self._module.get_current_device
        self._module.get_current_device = lambda: self._device

    def __exit__(self, *exc: object) -> None:
        self._module.get_current_device = self._saved


def compile_ptx(source: str, arch: tuple[int, int]) -> str:
    """PTX of a kernel source for compute capability `arch`; the entry is called ENTRY."""
    require()
    from numba import cuda
    from numba.cuda import types

    space: dict[str, Any] = {"__name__": "graphkeras_kernel", "cuda": cuda}
    text = source.replace("local_array(", "cuda.local.array(")  # Numba knows it by this name only
    kinds = {"p": types.int64, "i": types.int64, "t": types.int64, "f": types.float64}
    with _lock, _device_of(arch):
        try:
            exec(compile(text, "<kernel>", "exec"), space)
            signature = types.void(*(kinds[letter] for letter in space["SIGNATURE"]))
            bounds = (space["THREADS"], space["BLOCKS"]) if "BLOCKS" in space else space["THREADS"]
            features = space.get("FEATURES", "")
            ptx, _ = cuda.compile(
                space["kernel"],
                signature,
                device=False,
                abi="numba",
                cc=(*arch, features) if features else arch,
                fastmath=False,
                launch_bounds=bounds,
                output="ptx",
            )
        except Exception as error:
            raise CudaCompileError(f"Numba-CUDA refused a kernel: {error}\n\n{source}") from error
    return _with_maps(_declared(_renamed(ptx)), space["SIGNATURE"])


def _renamed(ptx: str) -> str:
    """The entry gets a short name, and Numba's unused environment variables go."""
    found = re.search(r"\.visible \.entry (\w+)", ptx)
    if found is None:
        raise CudaCompileError(f"no entry in the PTX:\n{ptx}")
    ptx = ptx.replace(found.group(1), ENTRY)
    return re.sub(r"^\.common \.global .*NumbaEnv.*;\n", "", ptx, flags=re.M)


def _declared(ptx: str) -> str:
    """Functions of the device's runtime library are declared where they are called."""
    if CONDITION not in ptx:
        return ptx
    declared = f".extern .func {CONDITION}(.param .b64 handle, .param .b32 value);"
    return re.sub(r"^(\.address_size 64)$", rf"\1\n{declared}", ptx, count=1, flags=re.M)


def _with_maps(ptx: str, signature: str) -> str:
    """Parameters of letter t hold 128 bytes; who would load one gets its address.

    Numba knows no structures by value. The copy engine wants its descriptions in parameter or constant space.
    """
    for k, letter in enumerate(signature):
        if letter != "t":
            continue
        name = f"{ENTRY}_param_{k}"
        ptx, found = re.subn(rf"\.param \.[bu]64 {name}\b", f".param .align 64 .b8 {name}[128]", ptx)
        if found != 1:
            raise CudaCompileError(f"no parameter {name} in the PTX:\n{ptx}")
        load = rf"ld\.param\.[bu]64\s+(%\w+), \[{name}\];"
        ptx = re.sub(load, rf"mov.b64 \1, {name}; cvta.param.u64 \1, \1;", ptx)
    return ptx


# -- assembling -----------------------------------------------------------------------------------------
def assemble(ptx: str, arch: tuple[int, int], features: str = "") -> Cubin:
    """PTX -> cubin for sm_<arch>, with nvJitLink if it is there, else with ptxas; the other way round with `features`.

    nvJitLink takes a kernel for a part of a larger program: it lets wgmma wait after every instruction and ignores
    registers that warps hand over. Such kernels are right, but slow, and spill.
    """
    name = f"sm_{arch[0]}{arch[1]}{features}"
    tool = ptxas()
    if features and tool is None:
        warnings.warn(
            "ptxas was not found: kernels for Hopper's tensor cores are assembled by nvJitLink, which makes them slow. "
            "pip install nvidia-cuda-nvcc, or install a CUDA toolkit",
            stacklevel=2,
        )
    if not (features and tool) and _importable("cuda.bindings.nvjitlink") and _has_nvjitlink():
        return _nvjitlink(ptx, name)
    if tool is None:
        raise CudaUnavailable(
            "neither nvJitLink nor ptxas was found; pip install nvidia-nvjitlink, or install a CUDA toolkit"
        )
    return _ptxas(ptx, name, tool)


@functools.cache
def _has_nvjitlink() -> bool:
    from cuda.bindings import nvjitlink

    try:
        nvjitlink.version()
    except Exception:  # its own error types, for a library that is not there
        return False
    return True


def _nvjitlink(ptx: str, name: str) -> Cubin:
    from cuda.bindings import nvjitlink

    options = [f"-arch={name}", "-verbose"]
    handle = nvjitlink.create(len(options), options)
    try:
        data = ptx.encode()
        try:
            nvjitlink.add_data(handle, nvjitlink.InputType.PTX, data, len(data), "kernel")
            if CONDITION in ptx:
                library = Path(_needed_library()).read_bytes()
                nvjitlink.add_data(handle, nvjitlink.InputType.LIBRARY, library, len(library), "cudadevrt")
            nvjitlink.complete(handle)
        except nvjitlink.nvJitLinkError as error:
            log = bytearray(nvjitlink.get_error_log_size(handle))
            nvjitlink.get_error_log(handle, log)
            raise CudaCompileError(f"nvJitLink refused a kernel: {log.decode(errors='replace')}\n\n{ptx}") from error
        code = bytearray(nvjitlink.get_linked_cubin_size(handle))
        nvjitlink.get_linked_cubin(handle, code)
        info = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, info)
    finally:
        nvjitlink.destroy(handle)
    return _cubin(bytes(code), info.decode(errors="replace"))


def _homes() -> list[str]:
    """Where parts of the toolkit may be: packages of NVIDIA's, an installed toolkit."""
    wheels = importlib.util.find_spec("nvidia")
    folders = [str(Path(p) / "cu13") for p in (wheels.submodule_search_locations or ())] if wheels else []
    named = (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda")
    return [*folders, *(h for h in named if h)]


def can_link_conditions() -> bool:
    """Whether kernels that set conditions of graphs can be made: that takes nvJitLink and a library of the device."""
    return _importable("cuda.bindings.nvjitlink") and _has_nvjitlink() and runtime_library() is not None


@functools.cache
def runtime_library() -> str | None:
    """Path of libcudadevrt.a, of the package nvidia-cuda-runtime or of an installed toolkit."""
    places = [Path(h) / folder / "libcudadevrt.a" for h in _homes() for folder in ("lib", "lib64")]
    return next((str(p) for p in places if p.is_file()), None)


def _needed_library() -> str:
    path = runtime_library()
    if path is None:
        raise CudaUnavailable(
            "libcudadevrt.a was not found; pip install nvidia-cuda-runtime, or install a CUDA toolkit"
        )
    return path


def ptxas() -> str | None:
    """Path of the assembler: of the package nvidia-cuda-nvcc, or of an installed toolkit."""
    candidates = [*(str(Path(h) / "bin" / "ptxas") for h in _homes()), shutil.which("ptxas")]
    return next((c for c in candidates if c and os.access(c, os.X_OK)), None)


def _ptxas(ptx: str, name: str, tool: str) -> Cubin:
    """An older assembler refuses a newer `.version`; the instructions used here have been there since 8.0."""
    limit = _ptx_version(tool)
    ptx = re.sub(r"^\.version\s+(\d+\.\d+)", lambda m: f".version {min(float(m[1]), limit)}", ptx, flags=re.M)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "kernel.ptx", Path(folder) / "kernel.cubin"
        source.write_text(ptx)
        done = subprocess.run([tool, f"-arch={name}", "-v", source, "-o", target], capture_output=True, text=True)
        if done.returncode:
            raise CudaCompileError(f"ptxas refused a kernel: {done.stderr}\n\n{ptx}")
        return _cubin(target.read_bytes(), done.stderr)


@functools.cache
def _ptx_version(tool: str) -> float:
    """CUDA 12.n takes PTX 8.n, CUDA 13.n takes 9.n."""
    text = subprocess.run([tool, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"release (\d+)\.(\d+)", text)
    return float(f"{int(found[1]) - 4}.{found[2]}") if found else 8.0


def _cubin(code: bytes, log: str) -> Cubin:
    def number(pattern: str) -> int:
        found = re.findall(pattern, log)
        return max((int(n) for n in found), default=0)

    spilled = number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads")
    local = number(r"(\d+) bytes stack frame")
    return Cubin(code, number(r"Used (\d+) registers"), spilled, local, number(r"(\d+) bytes smem"))


# -- kept on disk ---------------------------------------------------------------------------------------
@functools.cache
def fingerprint() -> str:
    """Hash of what a cubin depends on besides its source: versions and the files of the language."""
    digest = hashlib.blake2b(digest_size=16)
    for package in ("numba-cuda", "numba", "llvmlite"):
        digest.update(f"{package} {version(package)}\0".encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        if file.name in ("support.py", "language.py", "compiler.py") or b"@register(" in file.read_bytes():
            digest.update(file.read_bytes())
    return digest.hexdigest()


def features_of(source: str) -> str:
    """The FEATURES constant of a source."""
    found = re.search(r'^FEATURES = "(\w*)"', source, re.M)
    return found[1] if found else ""


def load(sources: Sequence[str], arch: tuple[int, int]) -> list[Cubin]:
    """The cubins of these sources, from the disk or compiled now."""
    return [_load(source, arch) for source in sources]


_known: dict[tuple[str, tuple[int, int]], Cubin] = {}


def _load(source: str, arch: tuple[int, int]) -> Cubin:
    from graphkeras.codegen.cpu import cache

    key = (source, arch)
    if key in _known:
        return _known[key]
    folder, features = flags.CACHE.value, features_of(source)
    how = "ptxas" if features and ptxas() else ""
    entry = hashlib.blake2b(f"{fingerprint()}\0{arch}\0{how}\0{source}".encode(), digest_size=20).hexdigest()
    data = cache.read_entry(folder, entry) if folder is not None else None
    if data is not None:
        numbers = [int.from_bytes(data[4 * k : 4 * k + 4], "little") for k in range(4)]
        cubin = Cubin(data[16:], *numbers)
    else:
        cubin = assemble(compile_ptx(source, arch), arch, features)
        head = (cubin.registers, cubin.spilled, cubin.local, cubin.shared)
        if folder is not None:
            cache.write_entry(folder, entry, source, b"".join(n.to_bytes(4, "little") for n in head) + cubin.code)
    _known[key] = cubin
    return cubin
