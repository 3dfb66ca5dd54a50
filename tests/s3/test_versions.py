"""Requests after which an object is not what they sent or got."""

import pytest
from conftest import BUCKET, PYTHON, Place

CLIENT = """
import boto3
client = boto3.client("s3")
"""
UPLOAD = CLIENT + """
PART = 5 << 20
client.put_object(Bucket="data", Key="out/source", Body=b"s" * PART)
def upload(key, *sent):
    of = {"Bucket": "data", "Key": key}
    of["UploadId"] = client.create_multipart_upload(**of)["UploadId"]
    etags = {}
    for number, body in sent:
        if body is None:
            source = {"Bucket": "data", "Key": "out/source"}
            done = client.upload_part_copy(**of, PartNumber=number, CopySource=source)
            etags[number] = done["CopyPartResult"]["ETag"]
        else:
            etags[number] = client.upload_part(**of, PartNumber=number, Body=body)["ETag"]
    parts = [{"PartNumber": number, "ETag": etags[number]} for number in sorted(etags)]
    client.complete_multipart_upload(**of, MultipartUpload={"Parts": parts})
first, last = (1, b"a" * PART), (2, b"b" * 1000)
upload("out/copied", first, last, (1, None))
upload("out/longer", first, (2, b"b" * PART), (2, b"c" * (PART + 1000)))
upload("out/again", first, last, (2, b"c" * 1000))
"""


@pytest.fixture
def moto(servers, tmp_path):
    return Place(servers("moto"), str(tmp_path))


def test_a_part_that_is_replaced_is_not_digested(moto):
    outcome, report = moto.trace([PYTHON, "-c", UPLOAD])
    assert outcome.code == 0, outcome.stderr
    (task,) = report["tasks"]
    writes = {file["path"]: file["digest"] for file in task["writes"]}
    for key in ("copied", "longer", "again"):
        found = writes["s3://%s/out/%s" % (BUCKET, key)]
        assert found in (None, outcome.objects["out/" + key]["digest"]), key
    assert writes["s3://data/out/again"]


DELETE = CLIENT + """
def replaced(key):
    id = client.head_object(Bucket="data", Key=key)["VersionId"]
    client.put_object(Bucket="data", Key=key, Body=b"new")
    return {"Key": key, "VersionId": id}
client.delete_object(Bucket="data", **replaced("in/one"))
client.delete_objects(Bucket="data", Delete={"Objects": [replaced("in/many"), {"Key": "in/gone"}]})
"""


def test_an_object_is_there_when_an_old_version_is_deleted(moto):
    seeds = {"in/" + name: b"old" for name in ("one", "many", "gone")}
    outcome, report = moto.trace([PYTHON, "-c", DELETE], seeds=seeds)
    assert outcome.code == 0, outcome.stderr
    (task,) = report["tasks"]
    found = {kind: {file["path"] for file in task[kind] if file["path"].startswith("s3://")}
             for kind in ("writes", "deletes")}
    assert found["deletes"] == {"s3://data/in/gone"}
    assert found["writes"] == {"s3://data/in/one", "s3://data/in/many"}


SELECT = CLIENT + """
client.select_object_content(
    Bucket="data", Key="in/table.csv", ExpressionType="SQL",
    Expression="SELECT s.n FROM s3object s", InputSerialization={"CSV": {"FileHeaderInfo": "USE"}},
    OutputSerialization={"CSV": {}})["Payload"].close()
"""


def test_what_was_selected_is_not_the_object(moto):
    outcome, report = moto.trace([PYTHON, "-c", SELECT], seeds=("table.csv",))
    assert outcome.code == 0, outcome.stderr
    (task,) = report["tasks"]
    (read,) = (file for file in task["reads"] if file["path"].startswith("s3://"))
    assert read["path"] == "s3://data/in/table.csv"
    assert (read["digest"], read["size"], read.get("etag")) == (None, None, None)
