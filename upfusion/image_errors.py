"""The one kind of error that reading or writing an image raises, with a code for tables and a sentence for people."""


class ImageError(ValueError):
    """An image that cannot be read or written, with a short code for tables and a sentence for people."""

    def __init__(self, code: str, sentence: str) -> None:
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
        "unsupported_image", f"{kind} cannot be read; convert the image to PNG or TIFF of 8 or 16 bits a channel"
    )
