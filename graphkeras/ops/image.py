"""The ops on images."""

from graphkeras.ops.filters import (
    gaussian_blur,
    hsv_to_rgb,
    rgb_to_grayscale,
    rgb_to_hsv,
    sobel_edges,
    ssim,
)
from graphkeras.ops.resample import (
    crop_images,
    pad_images,
    resize,
    scale_and_translate,
)
from graphkeras.ops.warp import (
    affine_transform,
    elastic_transform,
    map_coordinates,
    perspective_transform,
)
from graphkeras.ops.windows import (
    extract_patches,
    extract_patches_3d,
    reconstruct_patches,
)

__all__ = [
    "affine_transform",
    "crop_images",
    "elastic_transform",
    "extract_patches",
    "extract_patches_3d",
    "gaussian_blur",
    "hsv_to_rgb",
    "map_coordinates",
    "pad_images",
    "perspective_transform",
    "reconstruct_patches",
    "resize",
    "rgb_to_grayscale",
    "rgb_to_hsv",
    "scale_and_translate",
    "sobel_edges",
    "ssim",
]
