import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.archive.allowlist import (
    PLAIN_NAME,
    allowlist_from_location,
    allowlist_from_option,
    allowlist_from_source,
    check_allowed,
    is_allowed,
    resolve,
    to_uri_prefix,
)
from pipelines.errors.exceptions import UsageError


def passes(uri: str, *prefixes: str) -> bool:
    try:
        check_allowed("m.csv", [("row 1: a_uri", uri)], allowlist_from_option(prefixes))
    except UsageError:
        return False
    return True


@pytest.mark.parametrize(
    ("prefix", "uri"),
    [
        ("s3://b/data", "s3://b/data/1.png"),
        ("s3://b/data/", "s3://b/data/deep/1.png"),
        ("s3://b/data", "s3://b/data"),
        ("s3://b", "s3://b/1.png"),
        ("s3a://b", "s3://b/1.png"),
        ("s3://b", "S3A://b/1.png"),
        ("s3://", "s3://any/1.png"),
        ("s3://b/chain::s3", "s3://b/chain::s3/1.png"),
        ("s3://b/100%25", "s3://b/100%25/1.png"),
        ("s3://arn:aws:s3:eu-west-1:1:accesspoint/mine", "s3://arn:aws:s3:eu-west-1:1:accesspoint/mine/1.png"),
        ("/data", "/data/1.png"),
        ("/data", "/data/deep/../1.png"),
        ("/data", "file:///data/1.png"),
        ("file:///data", "/data/1.png"),
        ("/", "/etc/passwd"),
        ("https://host", "https://host/1.png"),
        ("https://host/a", "HTTPS://HOST:443/a/1.png?version=3"),
        ("https://host/a b", "https://host/a%20b/1.png"),
        ("http://[::1]:8080/", "http://[::1]:8080/1.png"),
        ("gs://b/data", "gs://b/data/1.png"),
    ],
)
def test_what_lies_at_or_below_a_prefix_is_allowed(prefix, uri):
    assert passes(uri, "/nothing/there", prefix)


@pytest.mark.parametrize(
    ("prefix", "uri"),
    [
        ("s3://b/data", "s3://b/database/1.png"),
        ("s3://b/data", "s3://b/dat"),
        ("s3://b/data", "s3://b/data/../secret/1.png"),
        ("s3://b/data", "s3://b/data/.."),
        ("s3://b/data", "s3://b//data/1.png"),
        ("s3://b", "s3://bb/1.png"),
        ("s3://b", "s3:///b/1.png"),
        ("s3://b", "s3://B/1.png"),
        ("s3://b", "gs://b/1.png"),
        ("s3://b", "/b/1.png"),
        ("s3://arn:aws:s3:eu-west-1:1:accesspoint/mine", "s3://arn:aws:s3:eu-west-1:1:accesspoint/theirs/1.png"),
        # A percent code in a key is no other character.
        ("s3://b/data", "s3://b/%64ata/1.png"),
        ("/data", "/database/1.png"),
        ("/data", "/data/../etc/passwd"),
        ("/data", "FILE:///data/../etc/passwd"),
        ("/data", "s3://data/1.png"),
        ("https://good.example", "https://good.example.evil.com/1.png"),
        ("https://good.example", "https://good.example@evil/1.png"),
        ("https://good.example", "https://good.example:x@evil/1.png"),
        ("https://good.example", "https://good.example:8443/1.png"),
        ("https://good.example", "https://good.example\\@evil/1.png"),
        ("https://good.example", "https://good.example\n.evil/1.png"),
        ("https://good.example", "https://good.example%2eevil/1.png"),
        ("https://good.example", "http://good.example/1.png"),
        ("https://good.example", "https:///good.example/1.png"),
        ("https://good.example", "https://good.example/1.png::file:///etc/passwd"),
        ("https://host/a", "https://host/a/../b/1.png"),
        ("https://host/a", "https://host/a/%2e%2e/b/1.png"),
        ("https://host/a", "https://host/a/%252e%252e/b/1.png"),
        ("https://host/a", "https://host/a/..%2fb/1.png"),
        ("https://host/a", "https://host/a/..%5cb/1.png"),
        ("https://host/a", "https://host/ab/1.png"),
        ("gs://b/data", "gs://b/data/../1.png"),
        ("gs://b", "simplecache::gs://b/1.png"),
    ],
)
def test_what_only_looks_like_a_prefix_is_not(prefix, uri):
    assert not passes(uri, prefix)
    # Nor behind a neighbour that is allowed, whose folder is remembered.
    check_allowed("m.csv", [("row 1: a_uri", f"{prefix.rstrip('/')}/1.png")], allowlist_from_option((prefix,)))
    named = [("row 1: a_uri", f"{prefix.rstrip('/')}/1.png"), ("row 2: a_uri", uri)]
    with pytest.raises(UsageError, match="row 2"):
        check_allowed("m.csv", named, allowlist_from_option((prefix,)))


PIECES = st.sampled_from(
    ["s3://", "S3A://", "s3:", "https://", "http://", "file://", "gs://", "/", "//", "..", ".", "b", "bb", "a", "a.png",
     "%2e", "%2f", "\\", "@", ":", "::", "?", "#", "b/a", "\n", " "]
)  # fmt: skip


@given(st.lists(st.lists(PIECES, max_size=8).map("".join), min_size=2, max_size=4))
def test_no_uri_is_allowed_for_its_neighbours_sake(uris):
    allowed = allowlist_from_option(("s3://b/a", "/a/b", "https://b/a", "gs://b"))

    def all_pass(some: list[str]) -> bool:
        try:
            check_allowed("m.csv", [(f"row {row}", uri) for row, uri in enumerate(some)], allowed)
        except UsageError:
            return False
        return True

    assert all_pass(uris) == all(all_pass([uri]) for uri in uris)


@given(st.lists(PIECES, max_size=8).map("".join))
def test_whatever_a_relative_uri_is_it_stays_in_the_bucket_or_is_refused(uri):
    resolved = resolve("s3://bucket/lists", uri)
    try:
        check_allowed(
            "s3://bucket/lists/m.csv", [("row 1", resolved)], allowlist_from_location("s3://bucket/lists/m.csv")
        )
    except UsageError:
        return
    assert resolved == "s3://bucket" or resolved.startswith(("s3://bucket/", "s3a://bucket/"))
    assert ".." not in resolved.split("/")


def test_a_manifest_allows_by_its_place_what_a_person_would_expect():
    local = allowlist_from_location("/data/m.csv")
    for uri, expected in {"/x": True, "s3://b/x": True, "https://h/x": False, "gs://b/x": False}.items():
        assert any(place.contains(to_uri_prefix(uri)) for place in local) == expected
    assert allowlist_from_location("s3a://b/lists/m.csv") == (to_uri_prefix("s3://b"),)
    assert allowlist_from_location("https://h/lists/m.csv") == (to_uri_prefix("https://h"),)


def test_a_source_allows_what_lies_below_or_beside_it():
    assert allowlist_from_source("/data/llvip/") == (to_uri_prefix("/data/llvip"),)
    assert allowlist_from_source("/data/llvip/m.csv") == (to_uri_prefix("/data/llvip"),)
    assert allowlist_from_source("s3://b/llvip") == (to_uri_prefix("s3://b/llvip"),)
    assert allowlist_from_source("s3://b/llvip/m.parquet") == (to_uri_prefix("s3://b"),)


@pytest.mark.parametrize("prefix", ["bucket", "data/images", "https:host", "s3:/b", "https://host\\x", "s3://b/../c"])
def test_a_prefix_that_means_no_place_is_refused_by_name(prefix):
    with pytest.raises(UsageError, match=r"--allow|refused"):
        allowlist_from_option((prefix,))


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIA:sec/ret+key@b/1.png", "s3://token@b/1.png", "https://user:pass@b/1.png", "https://b/1.png?sig=secret",
        "https://b/1.png?a=1&X-Amz-Signature=secret", "https://b/1.png?Signature=secret&Expires=1",
    ],
)  # fmt: skip
def test_credentials_in_a_manifest_are_refused_without_being_repeated(uri):
    with pytest.raises(UsageError, match=r"7: a_uri") as refused:
        check_allowed("m.csv", [("row 7: a_uri", uri)], allowlist_from_option(("s3://", "https://b")))
    assert not any(word in str(refused.value) for word in ("sec", "token", "pass@", "AKIA"))


def test_a_name_that_is_passed_over_quickly_has_nothing_in_it_but_letters():
    assert PLAIN_NAME.fullmatch("010001.v2 - copy.jpg")
    assert not any(map(PLAIN_NAME.fullmatch, ["", ".", "..", "%2e%2e", "a?b", "a@b", "a::b", "a\\b", "a\n", ".a"]))


def test_what_means_no_place_lies_nowhere():
    allowed = allowlist_from_option(("s3://b", "https://h"))
    assert is_allowed("s3://b/1.png", allowed)
    assert not any(is_allowed(uri, allowed) for uri in ("s3://c/1.png", "s3://b/../c/1.png", "https://h\\@x/1.png", ""))
