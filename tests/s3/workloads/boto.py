"""One use of S3 by boto3: `python boto.py NAME BUCKET`. ENDPOINT_IN_CODE is passed to the client."""

import os
import subprocess
import sys
import threading
import time
import urllib.request

import boto3
import requests
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from content import MIB, content

STRANGE = "strange/sp ace/ü+%41&=;~/b"


def new_client(**options):
    return boto3.client("s3", endpoint_url=os.environ.get("ENDPOINT_IN_CODE"), **options)


def put(bucket):
    new_client().put_object(Bucket=bucket, Key="out/put", Body=content(1000, "put"))


def put_stream(bucket):
    with open("given", "rb") as given:
        new_client().put_object(Bucket=bucket, Key="out/stream", Body=given)


def put_empty(bucket):
    new_client().put_object(Bucket=bucket, Key="out/_SUCCESS")


def put_checked(bucket):
    new_client().put_object(
        Bucket=bucket, Key="out/checked", Body=content(70_000, "c"), ChecksumAlgorithm="SHA256")


def get(bucket):
    answer = new_client().get_object(Bucket=bucket, Key="in/small")
    print(answer["Body"].read() == content(1000, "small"))


def get_empty(bucket):
    print(new_client().get_object(Bucket=bucket, Key="in/empty")["Body"].read())


def get_twice(bucket):
    client = new_client()
    for _ in range(2):
        print(len(client.get_object(Bucket=bucket, Key="in/small")["Body"].read()))


def get_ranges(bucket):
    client = new_client()
    for asked in ("bytes=0-9", "bytes=100-199", "bytes=-5"):
        print(client.get_object(Bucket=bucket, Key="in/small", Range=asked)["Body"].read().hex())


def get_half(bucket):
    body = new_client().get_object(Bucket=bucket, Key="in/large")["Body"]
    print(len(body.read(10_000)))
    body.close()


def get_missing(bucket):
    try:
        new_client().get_object(Bucket=bucket, Key="in/missing")
    except ClientError as error:
        print(type(error).__name__, error.response["Error"]["Code"])


def strange_keys(bucket):
    client = new_client()
    print(client.get_object(Bucket=bucket, Key="in/" + STRANGE)["Body"].read().decode())
    client.put_object(Bucket=bucket, Key="out/" + STRANGE, Body=b"strange")


def copy(bucket):
    source = {"Bucket": bucket, "Key": "in/small"}
    new_client().copy_object(Bucket=bucket, Key="out/copy", CopySource=source)


def upload_file(bucket):
    new_client().upload_file("given", bucket, "out/uploaded")


def upload_small_file(bucket):
    with open("small", "wb") as small:
        small.write(content(5000, "small file"))
    new_client().upload_file("small", bucket, "out/uploaded")


def download_file(bucket):
    new_client().download_file(bucket, "in/large", "taken")
    print(os.path.getsize("taken"))


def multipart(bucket, sizes=(5 * MIB, 5 * MIB, 1000)):
    client = new_client()
    made = client.create_multipart_upload(Bucket=bucket, Key="out/parts")
    parts = []
    for number, size in enumerate(sizes, 1):
        part = client.upload_part(
            Bucket=bucket, Key="out/parts", UploadId=made["UploadId"], PartNumber=number,
            Body=content(size, "part %d" % number))
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    client.complete_multipart_upload(
        Bucket=bucket, Key="out/parts", UploadId=made["UploadId"], MultipartUpload={"Parts": parts})


def multipart_aborted(bucket):
    client = new_client()
    made = client.create_multipart_upload(Bucket=bucket, Key="out/aborted")
    client.upload_part(
        Bucket=bucket, Key="out/aborted", UploadId=made["UploadId"], PartNumber=1, Body=b"part")
    client.abort_multipart_upload(Bucket=bucket, Key="out/aborted", UploadId=made["UploadId"])


def copy_of_parts(bucket):
    config = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB)
    source = {"Bucket": bucket, "Key": "in/large"}
    new_client().copy(source, bucket, "out/copied", Config=config)


def delete(bucket):
    new_client().delete_object(Bucket=bucket, Key="in/small")


def delete_objects(bucket):
    keys = [{"Key": "in/small"}, {"Key": "in/empty"}]
    new_client().delete_objects(Bucket=bucket, Delete={"Objects": keys})


def look(bucket):
    client = new_client()
    print(client.head_object(Bucket=bucket, Key="in/small")["ContentLength"])
    listed = client.list_objects_v2(Bucket=bucket, Prefix="in/")["Contents"]
    print([(found["Key"], found["Size"]) for found in listed])


def read_own(bucket):
    client = new_client()
    client.put_object(Bucket=bucket, Key="out/own", Body=b"own")
    print(client.get_object(Bucket=bucket, Key="out/own")["Body"].read())


def ephemeral(bucket):
    client = new_client()
    client.put_object(Bucket=bucket, Key="out/gone", Body=b"gone")
    client.delete_object(Bucket=bucket, Key="out/gone")


def overwrite(bucket):
    client = new_client()
    data = client.get_object(Bucket=bucket, Key="in/small")["Body"].read()
    client.put_object(Bucket=bucket, Key="in/small", Body=data[::-1])


def versions(bucket):
    client = new_client()
    old = client.list_object_versions(Bucket=bucket, Prefix="in/small")["Versions"][-1]
    got = client.get_object(Bucket=bucket, Key="in/small", VersionId=old["VersionId"])
    print(got["Body"].read() == content(1000, "small"))
    put = client.put_object(Bucket=bucket, Key="in/small", Body=b"another")
    print(put["VersionId"] != got["VersionId"])


def presigned(client, method, bucket, key):
    return client.generate_presigned_url(method, {"Bucket": bucket, "Key": key}, ExpiresIn=600)


def presigned_get(bucket):
    url = presigned(new_client(), "get_object", bucket, "in/small")
    with urllib.request.urlopen(url) as answer:
        print(len(answer.read()))


def presigned_put(bucket):
    url = presigned(new_client(), "put_object", bucket, "out/presigned")
    print(requests.put(url, data=content(3000, "presigned")).status_code)


def presigned_v4(bucket):
    presigned_curl(bucket, new_client(config=Config(signature_version="s3v4")))


def presigned_curl(bucket, client=None):
    """By default botocore signs URLs by version 2."""
    client = client or new_client()
    given, taken = (presigned(client, *pair) for pair in (
        ("put_object", bucket, "out/presigned"), ("get_object", bucket, "in/small")))
    subprocess.run(["curl", "-sSf", "-o", "taken", taken], check=True)
    subprocess.run(["curl", "-sSf", "-T", "taken", given], check=True)


def threads(bucket):
    client = new_client()
    failed = []

    def one(number):
        try:
            data = client.get_object(Bucket=bucket, Key="in/small")["Body"].read()
            client.put_object(Bucket=bucket, Key="out/thread-%d" % number, Body=data * number)
        except Exception as error:
            failed.append(error)

    running = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    print(failed)


def tolerant(bucket):
    """Gets, puts and uploads, and says how each went."""
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=1, read_timeout=1)
    client = new_client(config=config)
    steps = (
        ("get", lambda: len(client.get_object(Bucket=bucket, Key="in/large")["Body"].read())),
        ("put", lambda: client.put_object(
            Bucket=bucket, Key="out/put", Body=content(200_000, "put"))["ETag"]),
        ("get again", lambda: len(client.get_object(Bucket=bucket, Key="in/small")["Body"].read())),
        ("download", lambda: client.download_file(bucket, "in/large", "taken")),
        ("upload", lambda: client.upload_file("given", bucket, "out/uploaded")),
    )
    for name, do in steps:
        print(name, told(do))


FAILURES = (ClientError, BotoCoreError, OSError, boto3.exceptions.Boto3Error)


def told(do):
    """What it returned, or how it failed."""
    try:
        return do()
    except FAILURES as error:
        code = (getattr(error, "response", None) or {}).get("Error", {}).get("Code")
        return "%s.%s %s %s" % (type(error).__module__, type(error).__name__, code, error)


def patient(bucket):
    """Gets until it succeeds, and says each different failure."""
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=1, read_timeout=5)
    client = new_client(config=config)
    said = None
    while said != "got 20971520":
        last, said = said, told(lambda: "got %d" % len(
            client.get_object(Bucket=bucket, Key="in/large")["Body"].read()))
        if said != last:
            print(said)
        time.sleep(0.05)
    client.put_object(Bucket=bucket, Key="out/put", Body=b"back")


def two_large(bucket):
    """A large get and a large put at the same time."""
    client = new_client()
    client.get_object(Bucket=bucket, Key="in/small")["Body"].read()
    size = 100 * MIB

    def get_it():
        with open("taken", "wb") as taken:
            for block in client.get_object(Bucket=bucket, Key="in/huge")["Body"].iter_chunks(MIB):
                taken.write(block)

    def put_it():
        client.put_object(Bucket=bucket, Key="out/huge", Body=content(size, "put"))

    said = {}
    running = [
        threading.Thread(target=lambda name=name, do=do: said.update({name: told(do)}))
        for name, do in (("get", get_it), ("put", put_it))]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    print(sorted(said.items()))


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
