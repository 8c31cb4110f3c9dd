"""Fetching and decoding a block of pairs."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from infra.stack.object_store import free_port
from pipelines.archive import load as sources
from pipelines.archive.load import decode, fetch, load_sources
from pipelines.archive.rows import DECODED, unpack_image
from pipelines.errors.failures import STORE_LOST
from pipelines.storage import objects as storage
from pipelines.storage import outage as outage_of_store
from pipelines.storage.retry import CredentialsError, retrying_at_most
from tests.fault_proxy import outage
from tests.pipelines.blocks import MARKER, encoded, errors, manifest, noise, raising
from upfusion.images import decode_image


def test_sources_are_fetched_each_into_its_own_row(place):
    for name in ("1", "2", "[1]"):
        storage.write_bytes(f"{place}/vi/{name}.png", f"vi{name}".encode())
        storage.write_bytes(f"{place}/ir/{name}.png", f"ir{name}".encode())
    fetched = fetch(
        manifest(
            x=(f"{place}/vi/1.png", f"{place}/ir/1.png"),
            y=(f"{place}/vi/[1].png", f"{place}/ir/2.png"),
            z=(f"{place}/vi/1.png", f"{place}/vi/1.png"),
        )
    )
    files = {row["pair_id"]: (row["a_file"], row["b_file"]) for row in fetched}
    assert files == {"x": (b"vi1", b"ir1"), "y": (b"vi[1]", b"ir2"), "z": (b"vi1", b"vi1")}
    assert set(errors(fetched).values()) == {(None, None)}
    assert all(row["fetch_ms"] > 0 for row in fetched)


def codes_and_files(table):
    """The error code of each pair, and the file that its error begins with."""
    return {pair: (code, error and error.split()[0]) for pair, (code, error) in errors(table).items()}


def test_a_missing_source_fails_its_own_pair_and_is_named(place):
    storage.write_bytes(f"{place}/1.png", b"1")
    fetched = fetch(
        manifest(
            whole=(f"{place}/1.png", f"{place}/1.png"),
            without_a=(f"{place}/gone.png", f"{place}/1.png"),
            without_b=(f"{place}/1.png", f"{place}/gone.png"),
            without_both=(f"{place}/a.png", f"{place}/b.png"),
        )
    )
    assert codes_and_files(fetched) == {
        "whole": (None, None),
        "without_a": ("source_missing", f"{place}/gone.png"),
        "without_b": ("source_missing", f"{place}/gone.png"),
        "without_both": ("source_missing", f"{place}/a.png"),
    }


def test_a_source_that_cannot_be_read_fails_its_own_pair_and_says_why(tmp_path):
    (tmp_path / "1.png").write_bytes(b"1")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "circle.png").symlink_to("circle.png")
    good = str(tmp_path / "1.png")
    found = errors(
        fetch(
            manifest(
                whole=(good, good),
                folder=(good, f"{tmp_path}/folder.png"),
                scheme=("nosuchscheme://x/1.png", good),
                circle=(f"{tmp_path}/circle.png", good),
            )
        )
    )
    assert found["whole"] == (None, None)
    assert found["folder"][0] == found["scheme"][0] == found["circle"][0] == "source_unreadable"
    assert f"{tmp_path}/folder.png" in found["folder"][1]
    assert "nosuchscheme://x/1.png" in found["scheme"][1]
    assert "circle.png" in found["circle"][1]


def test_denied_access_is_said_without_what_the_store_answers(monkeypatch):
    monkeypatch.setattr(storage, "read_many", lambda uris, _: [PermissionError(13, "signed by me") for _ in uris])
    ((code, error),) = errors(fetch(manifest(x=("s3://b/1.png", "s3://b/2.png")))).values()
    assert code == "source_unreadable"
    assert "s3://b/1.png" in error
    assert "signed by me" not in error


def test_refused_credentials_are_no_pairs_failure(monkeypatch):
    refused = CredentialsError(13, "ExpiredToken", "s3://b/1")
    monkeypatch.setattr(storage, "read_many", lambda uris, _: [refused for _ in uris])
    code, sentence = errors(fetch(manifest(x=("s3://b/1", "s3://b/2"))))["x"]
    assert code == STORE_LOST
    assert re.search(r"s3://b/1\b.*ExpiredToken", sentence)


def test_no_secret_of_a_store_gets_into_a_row(secret, monkeypatch):
    monkeypatch.setattr(storage, "read_many", lambda uris, _: [OSError(5, f"signature of {secret} is bad")] * len(uris))
    ((code, error),) = errors(fetch(manifest(x=("s3://b/1.png", "s3://b/2.png")))).values()
    assert code == "source_unreadable"
    assert error.endswith("signature of *** is bad")


def test_a_file_that_is_too_large_fails_its_own_pair_and_says_which_limit(place):
    for size in (1000, 1001):
        storage.write_bytes(f"{place}/{size}.png", bytes(size))
    pairs = manifest(fits=(f"{place}/1000.png", f"{place}/1000.png"), large=(f"{place}/1000.png", f"{place}/1001.png"))
    fetched = fetch(pairs, 1000)
    assert codes_and_files(fetched) == {"fits": (None, None), "large": ("too_large", f"{place}/1001.png")}
    assert re.search(r"\b1000\b.*--max-file-mb", errors(fetched)["large"][1])


def fetched(*files: tuple[bytes, bytes]) -> list[dict[str, Any]]:
    return [
        {"pair_id": str(i), "a_uri": f"/vi/{i}.png", "b_uri": f"/ir/{i}.png", "task": "ir_visible", "fetch_ms": 1.0}
        | {"error_code": None, "error": None, "a_file": a, "b_file": b}
        for i, (a, b) in enumerate(files)
    ]


def test_files_become_pixels():
    colour, grey, deep = noise(6, 8, 3), noise(6, 8), noise(6, 8, dtype=np.uint16)
    decoded = decode(fetched((encoded(colour), encoded(grey)), (encoded(grey), encoded(deep))))
    assert decoded.schema == DECODED
    first, second = decoded.to_pylist()
    np.testing.assert_array_equal(unpack_image(first["a"]), colour)
    np.testing.assert_array_equal(unpack_image(first["b"]), grey)
    np.testing.assert_array_equal(unpack_image(second["b"]), deep)
    assert [row["error_code"] for row in (first, second)] == [None, None]
    assert [row["note"] for row in (first, second)] == [None, None]
    assert first["fetch_ms"] == 1.0
    assert first["decode_ms"] > 0


GOOD = encoded(noise(48, 64))


@pytest.mark.parametrize(
    ("bad", "code", "said"),
    [
        (GOOD[: len(GOOD) // 2], "truncated_image", "early"),
        (encoded(noise(48, 64), "JPEG")[:400], "truncated_image", "early"),
        (b"<html>404 Not Found</html>", "not_an_image", "PNG"),
        (b"", "empty_file", "0 bytes"),
        (b"\x00" * 4096, "not_an_image", "PNG"),
        (encoded(noise(48, 64).astype(np.float32), "TIFF"), "unsupported_image", "32-bit TIFF"),
    ],
)
@pytest.mark.parametrize("side", ["a", "b"])
def test_a_bad_file_fails_its_own_pair_and_is_named(side, bad, code, said):
    pair = (bad, GOOD) if side == "a" else (GOOD, bad)
    table = decode(fetched((GOOD, GOOD), pair))
    found = errors(table)
    assert found["0"] == (None, None)
    assert found["1"][0] == code
    assert found["1"][1].startswith(f"/{'vi' if side == 'a' else 'ir'}/1.png: ")
    assert said in found["1"][1]
    assert table["a"].to_pylist()[1] is None


def test_sources_of_different_size_fail_with_both_sizes():
    table = decode(fetched((encoded(noise(24, 32, 3)), encoded(noise(32, 24)))))
    code, error = errors(table)["0"]
    assert code == "size_mismatch"
    assert re.search(r"\bA\b.*32x24.*\bB\b.*24x32", error)
    assert "--resize b-to-a" in error
    assert (table["a"].null_count, table["b"].null_count) == (1, 1)


def test_an_orientation_counts_before_sizes_are_compared():
    exif = Image.Exif()
    exif[0x0112] = 6
    table = decode(fetched((encoded(noise(24, 32), exif=exif), encoded(noise(32, 24)))))
    assert errors(table)["0"] == (None, None)


@pytest.mark.parametrize(
    ("a", "b", "noted"),
    [(4, 3, [["A"]]), (3, 2, [["B"]]), (4, 4, [["A"], ["B"]]), (3, 1, [])],
)
def test_dropped_transparency_is_noted(a, b, noted):
    table = decode(fetched((encoded(noise(6, 8, a)), encoded(noise(6, 8, b).squeeze()))))
    assert sides_and_numbers(table["note"].to_pylist()[0]) == noted


def test_what_is_left_out_of_both_sources_is_noted():
    pages = [Image.fromarray(noise(6, 8, 4, seed=seed)) for seed in range(3)]
    several = encoded(noise(6, 8, 4), "TIFF", save_all=True, append_images=pages[1:])
    grey = encoded(noise(6, 8), "TIFF", save_all=True, append_images=pages[1:])
    (note,) = decode(fetched((several, grey)))["note"].to_pylist()
    assert sides_and_numbers(note) == [["A"], ["3", "A"], ["3", "B"]]


def sides_and_numbers(note: str | None) -> list[list[str]]:
    return [re.findall(r"\b(?:[AB]|\d+)\b", part) for part in note.split("; ")] if note else []


def test_no_more_pixels_are_decoded_than_are_allowed():
    table = decode(fetched((GOOD, GOOD), (encoded(noise(49, 64)), GOOD)), 48 * 64)
    assert errors(table)["0"] == (None, None)
    code, error = errors(table)["1"]
    assert code == "too_large"
    assert "64x49" in error
    assert "3072" in error


def test_a_pair_that_failed_before_is_passed_on():
    failed = fetch(manifest(x=("/nowhere/1.png", "/nowhere/2.png")))
    assert errors(decode(failed)) == errors(failed)
    assert codes_and_files(failed) == {"x": ("source_missing", "/nowhere/1.png")}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "out_of_memory"),
        (ZeroDivisionError(MARKER), "damaged_image"),
        (KeyError("tag"), "damaged_image"),
    ],
)
def test_whatever_a_file_does_to_the_decoder_is_that_pairs_failure(secret, monkeypatch, error, code):
    def decode_some(data: bytes, _: int) -> Any:
        return decode_image(data) if data == GOOD else raising(error)()

    monkeypatch.setattr("upfusion.cameras.sources.decode_image", decode_some)
    found = errors(decode(fetched((GOOD, GOOD), (GOOD, b"bad"))))
    assert found["0"] == (None, None)
    assert found["1"][0] == code
    assert found["1"][1].startswith(f"/ir/1.png: {type(error).__name__}")
    assert secret not in found["1"][1]


@pytest.mark.parametrize(
    ("side", "together", "expected"),
    [
        (8, 32 << 20, [4, 8, 16, 16, 6]),  # small pairs: as many as a store has connections for
        (64, 6 * 4 * 64 * 64, [4, 6, 6, 6, 6, 6, 6, 6, 4]),
        (64, 1, [4] * 12 + [2]),  # large ones: no fewer than a few, for the store's latency
    ],
)
def test_no_more_pairs_are_held_together_than_their_pixels_allow(tmp_path, monkeypatch, side, together, expected):
    monkeypatch.setattr(sources, "BYTES_TOGETHER", int(together * 1.05))
    (tmp_path / "a.png").write_bytes(encoded(noise(side, side, 3)))
    (tmp_path / "b.png").write_bytes(encoded(noise(side, side)))
    pairs = manifest(**{f"{number:02}": (f"{tmp_path}/a.png", f"{tmp_path}/b.png") for number in range(50)})
    loaded = list(load_sources(pairs))
    if side > 8:
        per_pair = loaded[0].nbytes / 4
        assert per_pair == pytest.approx(4 * side * side, rel=0.05)
    assert [table.num_rows for table in loaded] == expected
    assert pa.concat_tables(loaded)["pair_id"].to_pylist() == pairs["pair_id"].to_pylist()
    assert pa.concat_tables(loaded)["error_code"].null_count == 50


def test_pairs_whose_files_are_gone_are_loaded_too():
    gone = manifest(**{f"{number}": ("/no/a.png", "/no/b.png") for number in range(9)})
    assert pa.concat_tables(load_sources(gone))["error_code"].to_pylist() == ["source_missing"] * 9


# Stores that are away


@pytest.fixture
def impatient() -> Iterator[None]:
    outage_of_store._probed.clear()
    with retrying_at_most(0.5):
        yield
    outage_of_store._probed.clear()


def put_pair(bucket: str) -> pa.Table:
    for name in ("vi", "ir"):
        storage.write_bytes(f"{bucket}/{name}/1.png", encoded(noise(6, 8)))
    return manifest(x=(f"{bucket}/vi/1.png", f"{bucket}/ir/1.png"))


@pytest.mark.usefixtures("impatient")
def test_a_store_that_is_away_is_no_pairs_failure(bucket, proxy):
    pairs = put_pair(bucket)
    proxy.choose = outage(1000)
    ((code, sentence),) = errors(fetch(pairs)).values()
    assert code == STORE_LOST
    assert f"{bucket}/vi/1.png" in sentence


@pytest.mark.usefixtures("impatient")
def test_an_object_that_a_store_cannot_give_fails_its_own_pair(bucket, proxy):
    pairs = put_pair(bucket)
    proxy.choose = lambda request: "slow_down" if "ir/1.png" in request else None
    ((code, sentence),) = errors(fetch(pairs)).values()
    assert code == "source_unreadable"
    assert f"{bucket}/ir/1.png" in sentence
    assert proxy.met["slow_down"]


@pytest.mark.usefixtures("impatient")
def test_a_host_of_http_that_is_away_fails_its_own_pairs(place):
    storage.write_bytes(f"{place}/1.png", b"1")
    uri = f"http://127.0.0.1:{free_port()}/1.png"
    ((code, _),) = errors(fetch(manifest(x=(uri, f"{place}/1.png")))).values()
    assert code == "source_unreadable"
