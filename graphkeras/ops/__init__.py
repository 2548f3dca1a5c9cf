"""Operations on tensors, with the names and rules of Keras 3.

`keras.ops` is what its parts `numpy`, `nn` and `linalg` have, and what is listed here besides.
"""

from graphkeras.ops import image, linalg, nn, numpy
from graphkeras.ops.binary import gammainc
from graphkeras.ops.complexes import view_as_complex, view_as_real
from graphkeras.ops.control import cond, fori_loop, scan, switch, while_loop
from graphkeras.ops.creation import cast, convert_to_numpy, convert_to_tensor, dtype, is_tensor, saturate_cast, shape
from graphkeras.ops.derivatives import custom_gradient
from graphkeras.ops.einsum import rearrange
from graphkeras.ops.indexing import scatter, scatter_update, slice, slice_update
from graphkeras.ops.linalg import *  # noqa: F403
from graphkeras.ops.maps import associative_scan, map, vectorized_map
from graphkeras.ops.math import segment_max, segment_min, segment_prod, segment_sum
from graphkeras.ops.matrix import logdet
from graphkeras.ops.nn import *  # noqa: F403
from graphkeras.ops.norms import cdist
from graphkeras.ops.numpy import *  # noqa: F403
from graphkeras.ops.pointwise import erf, erfc, erfinv, rsqrt, stop_gradient
from graphkeras.ops.reduction import logsumexp
from graphkeras.ops.shaping import unstack
from graphkeras.ops.signal import extract_sequences, fft, fft2, ifft2, irfft, istft, rfft, stft
from graphkeras.ops.sorting import in_top_k, top_k

__all__ = [
    "associative_scan",
    "cast",
    "cdist",
    "cond",
    "convert_to_numpy",
    "convert_to_tensor",
    "custom_gradient",
    "dtype",
    "erf",
    "erfc",
    "erfinv",
    "extract_sequences",
    "fft",
    "fft2",
    "fori_loop",
    "gammainc",
    "ifft2",
    "image",
    "in_top_k",
    "irfft",
    "is_tensor",
    "istft",
    "linalg",
    "logdet",
    "logsumexp",
    "map",
    "nn",
    "numpy",
    "rearrange",
    "rfft",
    "rsqrt",
    "saturate_cast",
    "scan",
    "scatter",
    "scatter_update",
    "segment_max",
    "segment_min",
    "segment_prod",
    "segment_sum",
    "shape",
    "slice",
    "slice_update",
    "stft",
    "stop_gradient",
    "switch",
    "top_k",
    "unstack",
    "vectorized_map",
    "view_as_complex",
    "view_as_real",
    "while_loop",
]
__all__ += linalg.__all__
__all__ += nn.__all__
__all__ += numpy.__all__
