"""What a client of botocore tells of its operations, without a store."""

import os
import sys
from types import SimpleNamespace

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "python-shim"))

from roar_shim import stores  # noqa: E402


def told(monkeypatch, operation, params, parsed):
    notes = []
    monkeypatch.setattr(stores, "tell", notes.append)
    context = {"retries": {"invocation-id": "1"}}
    stores._asks(params={"Bucket": "b", **params}, context=context)
    stores._succeeded(SimpleNamespace(status_code=200), parsed, SimpleNamespace(name=operation), context)
    (note,) = notes
    return note["keys"], note["version_id"]


def test_a_delete_names_a_version_only_where_it_was_asked_for_one(monkeypatch):
    marker = {"VersionId": "marker", "DeleteMarker": True}
    assert told(monkeypatch, "DeleteObject", {"Key": "k"}, marker) == (["k"], None)
    asked = {"Key": "k", "VersionId": "v"}
    assert told(monkeypatch, "DeleteObject", asked, {"VersionId": "v"}) == (["k"], "v")


def test_of_many_deletes_those_are_told_that_leave_no_object(monkeypatch):
    entries = [{"Key": "k", "VersionId": "v"}, {"Key": "l"}, {"Key": "m", "VersionId": "null"}, {"Key": "n"}]
    failed = [{"Key": "n"}, {"Key": "l", "VersionId": "v"}]
    keys, _ = told(monkeypatch, "DeleteObjects", {"Delete": {"Objects": entries}}, {"Errors": failed})
    assert keys == ["l", "m"]
