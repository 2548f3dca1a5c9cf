"""The ops on images."""

from graphkeras.ops.windows import (
    extract_patches,
    extract_patches_3d,
    reconstruct_patches,
)

__all__ = [
    "extract_patches",
    "extract_patches_3d",
    "reconstruct_patches",
]
