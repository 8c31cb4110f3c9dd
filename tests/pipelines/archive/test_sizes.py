import pytest

from pipelines.archive import sizes as sizes_of_archives
from pipelines.archive.sizes import count_sizes
from pipelines.storage import objects as storage
from tests.pipelines.archive.test_discover import encoded, find, put


@pytest.fixture
def place(place) -> str:
    """An empty folder, or an empty prefix."""
    return f"{place}/archive"


def test_sizes_are_counted_by_task_and_as_displayed(place):
    put(place, "vi/1.png", "vi/2.png", "ct/3.png", data=encoded((320, 240)))
    put(place, "vi/turned.jpg", data=encoded((320, 240), "JPEG", orientation=6))
    put(place, "vi/text.png", data=b"<html>")
    put(place, "vi/empty.png", data=b"")
    put(place, *[f"ir/{name}.png" for name in ("1", "2", "turned", "text", "empty", "gone")], "mri/3.png")
    put(place, "vi/gone.png")
    pairs = find(place).pairs
    storage.delete(place + "/vi/gone.png")
    sizes = count_sizes(pairs)
    assert {(task, a): count for (task, a, _), count in sizes.counts.items()} == {
        ("ir_visible", "320x240"): 2,
        ("ct_mri", "320x240"): 1,
        ("ir_visible", "240x320"): 1,
        ("ir_visible", "unreadable"): 3,
    }
    assert sizes.looked_at == 7


@pytest.mark.parametrize(
    ("form", "options"), [("PNG", {}), ("JPEG", {}), ("BMP", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {})]
)
def test_sizes_of_large_files_are_read(tmp_path, form, options):
    data = encoded((700, 500), form, **options)
    assert len(data) > sizes_of_archives.HEAD
    put(str(tmp_path), f"vi/1.{form.lower()}", data=data)
    put(str(tmp_path), "ir/1.png")
    put(str(tmp_path), "ir/1.png", data=encoded((70, 50)))
    sizes = count_sizes(find(tmp_path).pairs)
    assert sizes.counts == {("ir_visible", "700x500", "70x50"): 1}
    assert sizes.differing == 1


def test_of_many_pairs_only_some_evenly_spread_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(sizes_of_archives, "SIZES_READ", 4)
    for number in range(9):
        put(str(tmp_path), f"vi/{number}.png", data=encoded((10 + number, 8)))
        put(str(tmp_path), f"ir/{number}.png")
    pairs = find(tmp_path).pairs
    sizes = count_sizes(pairs)
    assert sizes.looked_at == 3
    assert {a for _, a, _ in sizes.counts} == {"10x8", "13x8", "16x8"}
    assert count_sizes(pairs.slice(0, 4)).looked_at == 4
