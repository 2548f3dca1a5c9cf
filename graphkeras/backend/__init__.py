"""Backend utilities under their old names (`graphkeras.backend`)."""

from graphkeras.core.config import (
    backend,
    epsilon,
    floatx,
    image_data_format,
    set_epsilon,
    set_floatx,
    set_image_data_format,
)
from graphkeras.core.dtypes import is_float_dtype, is_int_dtype, result_type, standardize_dtype
from graphkeras.core.global_state import clear_session
from graphkeras.core.keras_tensor import is_keras_tensor
from graphkeras.core.naming import get_uid

__all__ = [
    "backend",
    "clear_session",
    "epsilon",
    "floatx",
    "get_uid",
    "image_data_format",
    "is_float_dtype",
    "is_int_dtype",
    "is_keras_tensor",
    "result_type",
    "set_epsilon",
    "set_floatx",
    "set_image_data_format",
    "standardize_dtype",
]
