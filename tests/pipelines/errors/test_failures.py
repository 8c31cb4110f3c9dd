"""Rows that fail."""

from pipelines.errors.failures import fail


def test_the_first_failure_of_a_pair_is_kept():
    row = {"pair_id": "x"}
    fail(row, "source_missing", "a does not exist")
    fail(row, "size_mismatch", "sizes differ")
    assert (row["error_code"], row["error"]) == ("source_missing", "a does not exist")


def test_a_failure_tells_no_secret(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "open-sesame")
    row = {"error_code": None}
    fail(row, "source_unreadable", "signed with open-sesame at https://me:hidden@host/x")
    assert row["error"] == "signed with *** at https://me:***@host/x"
