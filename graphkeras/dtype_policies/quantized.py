"""Names of quantized policies. They describe models that were quantized; they carry the source policy's dtypes."""

from __future__ import annotations

from typing import Any

from graphkeras.dtype_policies.policy import DTypePolicy, dtype_policy


class QuantizedDTypePolicy(DTypePolicy):
    """`{mode}_from_{source_name}`: weights quantized as `mode`, everything else as the source policy says."""

    MODES = ("int8", "float8", "int4", "gptq", "awq")

    def __init__(self, mode: str, source_name: str | None = None) -> None:
        source = source_name if source_name is not None else dtype_policy().name
        self._compute_dtype, self._variable_dtype = self._parse_name(source)
        if mode not in self.MODES:
            raise ValueError(f"Invalid quantization mode. Expected one of {self.MODES}. Received: mode={mode}")
        if self._compute_dtype == "float16" and mode == "int8":
            raise ValueError(f"Quantization mode='{mode}' doesn't work well with compute_dtype='float16'.")
        self._name = f"{mode}_from_{source}"
        self._source_name = source
        self._quantization_mode = mode

    def get_config(self) -> dict[str, Any]:
        return {"mode": self._quantization_mode, "source_name": self._source_name}

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(self._name)


class QuantizedFloat8DTypePolicy(QuantizedDTypePolicy):
    """float8 policy with the length of the history of absolute maxima."""

    default_amax_history_length = 1024

    def __init__(self, mode: str, source_name: str | None = None, amax_history_length: int = 1024) -> None:
        super().__init__(mode=mode, source_name=source_name)
        if not isinstance(amax_history_length, int):
            raise TypeError(f"`amax_history_length` must be an integer. Received: {amax_history_length}")
        self._amax_history_length = amax_history_length

    @property
    def amax_history_length(self) -> int:
        return self._amax_history_length

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "amax_history_length": self.amax_history_length}


def _block_parts(mode: str, expected: str) -> tuple[str, list[int]]:
    """`"gptq/4/128"` -> ("gptq", [4, 128]); `expected` is the form to name in errors."""
    head, *numbers = mode.split("/")
    wanted = expected.split("/")
    try:
        values = [int(n) for n in numbers]
    except ValueError:
        values = []
    if head != wanted[0] or len(values) != len(wanted) - 1:
        raise ValueError(f"Invalid mode. Expected format '{expected}' with integers. Received: mode={mode!r}")
    if values[-1] < -1 or values[-1] == 0:
        raise ValueError(f"Invalid group size in mode: expected -1 or a positive integer. Received: mode={mode!r}")
    return head, values


class _BlockPolicy(QuantizedDTypePolicy):
    EXPECTED = ""
    BITS: tuple[int, ...] = ()

    def __init__(self, mode: str, source_name: str | None = None) -> None:
        head, values = _block_parts(mode, self.EXPECTED)
        if self.BITS and values[0] not in self.BITS:
            only = f"{type(self).__name__} only supports {', '.join(f'{b}-bit' for b in self.BITS)} weights"
            raise ValueError(f"Invalid weight_bits in mode: {only}. Received: mode={mode!r}")
        super().__init__(mode=head, source_name=source_name)
        self._name = f"{mode}_from_{self._source_name}"
        self._full_mode = mode
        self.mode = head
        if self.BITS:
            self.weight_bits, self.group_size = values
        else:
            (self.block_size,) = values

    def get_config(self) -> dict[str, Any]:
        return {"mode": self._full_mode, "source_name": self._source_name}


class Int4DTypePolicy(_BlockPolicy):
    """`"int4/<block_size>"`; -1 quantizes per channel."""

    EXPECTED = "int4/<block_size>"


class GPTQDTypePolicy(_BlockPolicy):
    """`"gptq/<weight_bits>/<group_size>"`."""

    EXPECTED = "gptq/<weight_bits>/<group_size>"
    BITS = (2, 3, 4, 8)


class AWQDTypePolicy(_BlockPolicy):
    """`"awq/<weight_bits>/<group_size>"`."""

    EXPECTED = "awq/<weight_bits>/<group_size>"
    BITS = (4,)
