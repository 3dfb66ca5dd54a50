"""Each use of S3 by each client is in the report, and the program has not noticed."""

import check
import pytest
from cases import COPY, GET, ON_SERVERS, expected
from conftest import BUCKET, Place, program
from store import summary

PARAMETERS = pytest.mark.parametrize(
    ("server", "case"), ON_SERVERS, ids=["%s-%s" % (server, case.id) for server, case in ON_SERVERS])


@PARAMETERS
def test_the_program_does_what_the_table_says(untraced, server, case):
    """Untraced, by what the server was asked: the table is what captures are compared with."""
    outcome = untraced(server, case)
    assert outcome.code == 0, outcome.stderr
    reads, writes, deletes = summary(outcome.requests)
    reads = {url: how for url, (how, _) in reads.items()}
    expected_reads, expected_writes, expected_deletes = expected(case)
    assert reads == {url: (how,) for url, how in expected_reads.items()}
    assert (writes, deletes) == (expected_writes, expected_deletes)


@PARAMETERS
def test_a_capture(untraced, servers, tmp_path, server, case):
    place = Place(servers(server), str(tmp_path))
    outcome, report = place.trace(
        program(case.name, BUCKET), seeds=case.seeds, in_code=case.in_code)
    assert outcome.visible() == untraced(server, case).visible()

    (task,) = report["tasks"]
    reads, writes, deletes = expected(case)
    found = check.hows(task["reads"])
    for url, how in reads.items():
        if how == COPY and found.get(url) == (GET,):
            found[url] = (COPY,)
    assert found == {url: (how,) for url, how in reads.items()}
    assert check.hows(task["writes"]) == {url: (how,) for url, how in writes.items()}
    assert set(check.objects(task["deletes"])) == deletes
    check.check_files(case, task, place.objects, outcome)
    assert "s3_uncaptured" not in {gap["kind"] for gap in report["coverage"]["gaps"]}


def test_an_uploaded_file_has_the_digest_of_the_file(place):
    _, report = place.trace(program("boto.upload_file", BUCKET))
    (task,) = report["tasks"]
    (given,) = [file for file in task["reads"] if file["path"] == place.cwd + "/given"]
    (uploaded,) = check.objects(task["writes"]).values()
    assert (given["state"], uploaded["state"]) == ("exact", "exact")
    assert given["digest"] == uploaded["digest"]
