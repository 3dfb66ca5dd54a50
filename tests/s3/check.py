"""Compares what roar reports with what the server was asked, and with what it holds."""

from cases import COPY, MULTIPART, PUT
from store import joined, summary

# Multipart uploads whose parts all but the last are of 8 MiB: their digests can be had.
ALIGNED = ("out/uploaded", "out/given")
COPIES = ("out/copy", "out/copied")


def objects(files):
    """The S3 objects among them, by URL."""
    found = {}
    for file in files:
        if file["path"].startswith("s3://"):
            assert file["path"] not in found, "twice: " + file["path"]
            found[file["path"]] = file
    return found


def hows(files):
    """URL to how; that of a copy's source is `copy`, also when a record has it as a get."""
    return {url: tuple(sorted(file["how"])) for url, file in objects(files).items()}


def key(url):
    return url.split("/", 3)[3]


def ranges(file):
    """As one task's, without order; None when all of it was asked for."""
    found = joined(map(tuple, file.get("ranges") or []))
    return None if found in ([], [[0, (file["size"] or 0) - 1]]) else found


def check_version(file, version, must_be_exact, told=("etag", "size")):
    """`told`: what the server says of the version in its answers."""
    assert file["category"] == "data"
    for name in ("etag", "size"):
        assert file.get(name) == version[name] or (name not in told and file.get(name) is None)
    assert file.get("version_id") in (version["version_id"], None)
    if must_be_exact:
        assert (file["state"], file["digest"]) == ("exact", version["digest"])
    elif file["state"] == "exact":
        assert file["digest"] == version["digest"]
    else:
        assert (file["state"], file["digest"]) == ("skipped", None)


def check_files(case, task, before, outcome):
    """Every object that the task read or wrote, in all that is said of it."""
    asked, _, _ = summary(outcome.requests)
    for url, file in objects(task["reads"]).items():
        how, expected = asked[url]
        # What CopyObject answers with is the destination's ETag.
        told = () if how == (COPY,) else ("etag", "size")
        check_version(file, before[key(url)], key(url) in case.whole, told)
        if expected == [[0, before[key(url)]["size"] - 1]]:
            expected = None
        if how != (COPY,):
            assert ranges(file) == expected
    for url, file in objects(task["writes"]).items():
        exact = file["how"] == [PUT] or (file["how"] == [MULTIPART] and key(url) in ALIGNED)
        told = ("etag",) if key(url) in COPIES else ("etag", "size")
        check_version(file, outcome.objects[key(url)], exact, told)
        if outcome.objects[key(url)]["version_id"]:
            assert file["version_id"] == outcome.objects[key(url)]["version_id"]
