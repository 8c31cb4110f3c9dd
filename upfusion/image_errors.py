"""The exception of reading and writing images: an error code for tables, and a message for people."""

from typing import Literal

ImageErrorCode = Literal[
    "empty_file", "not_an_image", "truncated_image", "damaged_image", "unsupported_image", "too_large", "write_failed"
]
"""Error codes of `pipelines/errors/failures.py` that images can have."""


class ImageError(ValueError):
    """An image that cannot be read or written: an error code for tables, and a message for people."""

    def __init__(self, code: ImageErrorCode, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def truncated(sentence: str) -> ImageError:
    """Return the error of a file that ends before its pixels do (`truncated_image`)."""
    return ImageError("truncated_image", f"{sentence}; the file ends early: copy it again")


def damaged(sentence: str) -> ImageError:
    """Return the error of a file whose bytes contradict its format (`damaged_image`)."""
    return ImageError("damaged_image", f"the image is damaged: {sentence}")


def unsupported(kind: str) -> ImageError:
    """Return the error of a whole file of a kind that is not read (`unsupported_image`)."""
    return ImageError(
        "unsupported_image", f"{kind} cannot be read; convert the image to PNG or TIFF of 8 or 16 bits per channel"
    )
