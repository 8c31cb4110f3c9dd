"""Boxes of people: which file belongs to which pair, and what stands in it."""

import re
from pathlib import Path

import numpy as np
import pytest

from pipelines.evaluate.detection.boxes import People, find_boxes, parse_boxes
from pipelines.storage import objects as storage
from tests.archives import real_set
from upfusion.images import image_size

OBJECT = (
    "<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>"
    "<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
)


def voc(*objects: str, size: tuple[int, int] = (100, 80)) -> bytes:
    said = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return f'<?xml version="1.0" ?>\n<annotation>{said}{"".join(objects)}</annotation>'.encode()


def thing(name: str = "person", box: tuple[object, ...] = (10, 20, 30, 60), difficult: int = 0) -> str:
    return OBJECT.format(name=name, difficult=difficult, **dict(zip(("x1", "y1", "x2", "y2"), box, strict=True)))


def put(root: str, *names: str) -> None:
    for name in names:
        storage.write_bytes(storage.join(root, name), b"")


@pytest.mark.parametrize("name", ["Annotations/test/7.xml", "test/labels/7.txt", "labels/test/7.txt", "LABELS/7.TXT"])
def test_a_file_belongs_to_the_pair_of_its_path(place, name) -> None:
    put(place, name, "test/visible/7.png", "readme.txt", "labels/classes.txt")
    found = find_boxes(place, ["test/7", "test/8"])
    assert found.uris == {"test/7": storage.join(place, name)}
    assert not found.ambiguous


def test_a_file_of_another_form_of_unicode_belongs_to_its_pair(tmp_path) -> None:
    put(str(tmp_path), "labels/cafe\u0301/1.txt", "labels/e\u0301.txt")
    assert set(find_boxes(str(tmp_path), ["caf\u00e9/1", "\u00e9"]).uris) == {"caf\u00e9/1", "\u00e9"}
    assert list(find_boxes(str(tmp_path), ["e\u0301"]).uris) == ["e\u0301"]


def test_a_set_in_a_set_and_a_part_of_one(tmp_path) -> None:
    put(str(tmp_path), "LLVIP/Annotations/7.xml", "M3FD/test/labels/7.txt")
    found = find_boxes(str(tmp_path), ["LLVIP/test/7", "M3FD/test/7"])
    assert {one: Path(uri).suffix for one, uri in found.uris.items()} == {"LLVIP/test/7": ".xml", "M3FD/test/7": ".txt"}
    assert list(find_boxes(str(tmp_path / "M3FD" / "test"), ["7"]).uris) == ["7"]


def test_what_could_belong_to_two_pairs_belongs_to_none(tmp_path) -> None:
    put(str(tmp_path), "Annotations/7.xml", "Annotations/8.xml")
    found = find_boxes(str(tmp_path), ["test/7", "train/7", "test/8"])
    assert list(found.uris) == ["test/8"]
    assert found.ambiguous == {str(tmp_path / "Annotations/7.xml"): ("test/7", "train/7")}


def test_a_namesake_in_another_folder_is_another(tmp_path) -> None:
    put(str(tmp_path), "train/labels/7.txt", "Annotations/train/7.xml")
    found = find_boxes(str(tmp_path), ["test/7"])
    assert (found.uris, found.ambiguous) == ({}, {})


def test_two_files_for_one_pair(tmp_path) -> None:
    put(str(tmp_path), "a/labels/7.txt", "b/labels/7.txt")
    found = find_boxes(str(tmp_path), ["7"])
    assert found.uris == {}
    assert sorted(found.ambiguous.values()) == [("7",), ("7",)]
    put(str(tmp_path), "labels/7.txt")
    assert find_boxes(str(tmp_path), ["7"]).uris == {"7": str(tmp_path / "labels/7.txt")}
    put(str(tmp_path), "Annotations/7.xml")
    assert find_boxes(str(tmp_path), ["7"]).uris == {"7": str(tmp_path / "Annotations/7.xml")}


def test_voc() -> None:
    data = voc(thing(), thing("car"), thing("People", (1, 2, 3, 4.5), difficult=1), thing("PEDESTRIAN", (5, 5, 6, 6)))
    people = parse_boxes(data, "7.xml", 100, 80)
    assert people.boxes.dtype == np.float64
    assert people.boxes.tolist() == [[10, 20, 30, 60], [1, 2, 3, 4.5], [5, 5, 6, 6]]
    assert people.difficult.tolist() == [False, True, False]
    assert parse_boxes(data, "7.xml", 100, 80, people_names=["Car"]).boxes.tolist() == [[10, 20, 30, 60]]


def test_yolo() -> None:
    data = b"0 0.5 0.5 0.2 0.5\n\n3 .1 .1 .1 .1\n0.0 1 0.5 0.5 1.0\n"
    people = parse_boxes(data, "labels/7.txt", 100, 80)
    np.testing.assert_allclose(people.boxes, [[40, 20, 60, 60], [75, 0, 100, 80]])  # the second is clipped
    assert not people.difficult.any()
    np.testing.assert_allclose(parse_boxes(data, "7.txt", 100, 80, people_ids={3}).boxes, [[5, 4, 15, 12]])


@pytest.mark.parametrize(
    ("name", "data"), [("7.txt", b""), ("7.txt", b"\n"), ("7.txt", b"1 .5 .5 .1 .1"), ("7.xml", voc())]
)
def test_nobody_is_there(name, data) -> None:
    people = parse_boxes(data, name, 100, 80)
    assert (people.boxes.shape, people.difficult.shape) == ((0, 4), (0,))


def test_boxes_are_clipped_to_the_image_and_left_out_outside_of_it() -> None:
    people = parse_boxes(voc(thing(box=(-5, 70, 30, 90)), thing(box=(120, 5, 130, 9), difficult=1)), "7.xml", 100, 80)
    assert people.boxes.tolist() == [[0, 70, 30, 80]]
    assert people.difficult.tolist() == [False]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("7.txt", b"0 .5 .5 .1 .1\n0 .5 .5 .1", "7.txt, line 2"),
        ("7.txt", b"0 .5 .5 .1 .1 .9", "7.txt, line 1"),
        ("7.txt", b"person .5 .5 .1 .1", "7.txt, line 1"),
        ("7.txt", b"0.5 .5 .5 .1 .1", "7.txt, line 1"),
        ("7.txt", b"0 nan .5 .1 .1", "7.txt, line 1"),
        ("7.txt", b"0 320 240 20 50", "7.txt, line 1"),
        ("7.txt", b"0 .5 .5 .1 0", "7.txt, line 1"),
        ("7.txt", b"\x89PNG\r\n\x1a\n\0\0", "7.txt, line 1"),
        ("7.xml", b"", "7.xml, line 1"),
        ("7.xml", b"<annotation>\n<object>\n</annotation>", "7.xml, line 3"),
        ("7.xml", b"<html></html>", "<html>"),
        ("7.xml", b"<annotation><object><name>person</name></object></annotation>", "<bndbox>"),
        ("7.xml", voc(thing(), thing(box=(1, "two", 3, 4))), "7.xml, object 2.*<ymin>.*'two'"),
        ("7.xml", voc(thing(box=(1, "nan", 3, 4))), "7.xml, object 1"),
        ("7.xml", voc(thing(box=(30, 20, 10, 60))), "7.xml, object 1"),
        ("7.xml", voc(size=(640, 512)), "640x512"),
        ("7.xml", b"<annotation><size/></annotation>", "7.xml, <size>.*<width>"),
    ],
)
def test_what_is_malformed_is_named(name, data, said) -> None:
    with pytest.raises(ValueError, match=said):
        parse_boxes(data, name, 100, 80)


BOMB = '<?xml version="1.0"?>\n<!DOCTYPE annotation [{entity}]>\n<annotation>&b;</annotation>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7"])
@pytest.mark.parametrize(
    "entity", ['<!ENTITY a "ha"><!ENTITY b "&a;&a;">', '<!ENTITY b SYSTEM "file:///etc/hostname">']
)
def test_no_entity_is_declared_in_any_encoding(entity, encoding) -> None:
    text = BOMB.format(entity=entity).replace("?>", f' encoding="{encoding.removesuffix("-sig")}"?>', 1)
    with pytest.raises(ValueError, match=r"7\.xml.*(DOCTYPE|XML)"):
        parse_boxes(text.encode(encoding), "7.xml", 100, 80)


def test_paths_in_another_encoding_do_not_matter() -> None:
    data = (
        voc(thing()).replace(b'"1.0" ?>', b'"1.0" encoding="gbk"?>').replace(b"<size>", b"<path>\xd0\xd0</path><size>")
    )
    assert len(parse_boxes(data, "7.xml", 100, 80).boxes) == 1


def test_llvip() -> None:
    root = real_set("llvip")
    pair_ids = [str(file.relative_to(root / "visible").with_suffix("")) for file in root.glob("visible/**/*.jpg")]
    found = find_boxes(str(root), pair_ids)
    files = list((root / "Annotations").iterdir())
    assert sorted(found.uris.values()) == sorted(map(str, files))
    assert not found.ambiguous
    for pair_id, uri in found.uris.items():
        width, height = image_size((root / "visible" / f"{pair_id}.jpg").read_bytes())
        people = parse_boxes(Path(uri).read_bytes(), uri, width, height)
        assert len(people.boxes) == Path(uri).read_text().count("<name>person</name>")
        assert [[round(x) for x in box] for box in people.boxes] == _corners(Path(uri).read_text())
    assert sum(len(_corners(file.read_text())) for file in files) == 8


def _corners(text: str) -> list[list[int]]:
    numbers = [int(found) for found in re.findall(r"<[xy](?:min|max)>(\d+)<", text)]
    return [numbers[first : first + 4] for first in range(0, len(numbers), 4)]


def test_m3fd() -> None:
    root = real_set("m3fd")
    names = [file.stem for file in (root / "test" / "visible").iterdir()]
    found = find_boxes(str(root), [f"test/{name}" for name in names])
    assert {one.removeprefix("test/"): uri for one, uri in found.uris.items()} == find_boxes(
        str(root / "test"), names
    ).uris
    files = list((root / "test" / "labels").iterdir())
    assert sorted(found.uris.values()) == sorted(map(str, files))
    for pair_id, uri in found.uris.items():
        width, height = image_size((root / "test" / "visible" / f"{Path(pair_id).name}.png").read_bytes())
        people = parse_boxes(Path(uri).read_bytes(), uri, width, height)
        assert len(people.boxes) == sum(line.startswith("0 ") for line in Path(uri).read_text().splitlines())
        assert (people.boxes >= 0).all()
        assert (people.boxes <= (width, height, width, height)).all()


def test_people_in_a_crop_are_in_its_pixels_and_difficult_where_little_of_them_is_left():
    boxes = np.array([[20, 10, 40, 30], [0, 0, 9, 9], [5, 12, 12, 20], [90, 10, 120, 40]], float)
    people = People(boxes, np.array([True, False, False, False])).within(10, 8, 100, 20)
    assert people.boxes.tolist() == [[10, 2, 30, 20], [0, 4, 2, 12], [80, 2, 100, 20]]
    assert people.difficult.tolist() == [True, True, True]
    assert People(boxes, np.zeros(4, bool)).within(0, 0, 200, 200).difficult.tolist() == [False] * 4
