import pytest

from upfusion.file_names import is_hidden, is_image_name


@pytest.mark.parametrize(
    "path",
    [
        "._1.png", ".DS_Store", "vi/._1.jpg", ".thumbnails/1.png", "__MACOSX/vi/1.png", "vi/@eaDir/1.jpg/SMALL.jpg",
        "$RECYCLE.BIN/1.png", "System Volume Information/1.png", "Thumbs.db", "vi/THUMBS.DB", "desktop.ini",
    ],
)  # fmt: skip
def test_what_systems_put_beside_images_is_hidden(path):
    assert is_hidden(path)
    assert not is_image_name(path)


@pytest.mark.parametrize("path", ["1.png", "vi/1.JPG", "a.b/c.tiff", "macosx/1.png", "/vi//1.webp", "x/1.bmp"])
def test_what_people_name_is_not(path):
    assert not is_hidden(path)
    assert is_image_name(path)


def test_other_suffixes_are_no_images():
    assert not any(map(is_image_name, ("1.txt", "png", "vi/1.gif", "1.png.json")))
