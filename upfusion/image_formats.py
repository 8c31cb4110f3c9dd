"""The formats that fused images are written in, for options that are checked without importing OpenCV."""

from typing import Literal

ImageFormat = Literal["png", "jpeg", "webp", "tiff"]
FORMATS: dict[ImageFormat, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif"}
"""The file suffix of each; jpeg and webp hold 8 bits per channel."""
