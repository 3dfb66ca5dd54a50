"""What is in a bucket, and what was done to it: both as the server tells."""

import functools
import io
import os
import re
import shutil
import urllib.parse
import urllib.request
import xml.etree.ElementTree

import boto3
import pyarrow
from blake3 import blake3
from botocore.config import Config
from content import MIB, content
from pyarrow import parquet
from servers import KEY, SECRET


def table(begin, end):
    out = io.BytesIO()
    numbers = list(range(begin, end))
    columns = {"n": numbers, "text": ["row %d" % n for n in numbers]}
    parquet.write_table(pyarrow.table(columns), out)
    return out.getvalue()


# s3s-fs refuses a range of the last bytes that is longer than the object: the table, which
# polars reads, is larger than what it asks for.
SEEDS = {
    "small": content(1000, "small"),
    "empty": b"",
    "large": content(20 * MIB, "large"),
    "strange/sp ace/ü+%41&=;~/b": b"strange",
    "table.parquet": table(0, 50_000),
    "dataset/a.parquet": table(0, 10),
    "dataset/b.parquet": table(10, 30),
    "table.csv": ("n,text\n" + "".join("%d,row\n" % n for n in range(100))).encode(),
}


@functools.cache
def huge():
    return content(100 * MIB, "huge")


def digest(data):
    return "blake3:" + blake3(data).hexdigest()


class Store:
    """One bucket of a server."""

    def __init__(self, server, bucket):
        self.server, self.bucket = server, bucket
        self.client = boto3.client(
            "s3", endpoint_url="http://127.0.0.1:%d" % server.port, aws_access_key_id=KEY,
            aws_secret_access_key=SECRET, region_name="us-east-1",
            config=Config(retries={"max_attempts": 1}, max_pool_connections=1),
        )

    def refill(self, seeds):
        """Only these objects, by names in SEEDS or keys to bytes; returns them as `objects` does."""
        if self.server.name == "moto":
            url = "http://127.0.0.1:%d/moto-api/reset" % self.server.port
            urllib.request.urlopen(urllib.request.Request(url, method="POST")).close()
            self.client.create_bucket(Bucket=self.bucket)
            self.client.put_bucket_versioning(
                Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        else:
            for name in os.listdir(self.server.root):
                path = os.path.join(self.server.root, name)
                shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
            os.mkdir(os.path.join(self.server.root, self.bucket))
        if not isinstance(seeds, dict):
            seeds = {"in/" + name: huge() if name == "huge" else SEEDS[name] for name in seeds}
        for key, data in seeds.items():
            self.client.put_object(Bucket=self.bucket, Key=key, Body=data)
        return self.objects()

    def objects(self):
        """Key to ETag, version id, size and digest."""
        found = {}
        # Asked for so, botocore leaves the keys as they come, and s3s-fs does not encode them.
        listed = self.client.list_objects_v2(Bucket=self.bucket, EncodingType="url")
        for key in [one["Key"] for one in listed.get("Contents", [])]:
            if self.server.name == "moto":
                key = urllib.parse.unquote_plus(key)
            answer = self.client.get_object(Bucket=self.bucket, Key=key)
            data = answer["Body"].read()
            found[key] = {
                "etag": answer["ETag"].strip('"'), "version_id": answer.get("VersionId"),
                "size": len(data), "digest": digest(data),
            }
        return found


def accesses(requests):
    """What the requests read, wrote and deleted, in order: (action, url, range or None)."""
    for request in requests:
        if not 200 <= request["status"] < 300:
            continue
        path, _, query = request["target"].partition("?")
        asked = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        bucket, _, key = urllib.parse.unquote(path).lstrip("/").partition("/")
        url = "s3://%s/%s" % (bucket, key)
        method, headers = request["method"], request["headers"]
        source = headers.get("x-amz-copy-source")
        if method == "POST" and "delete" in asked:
            for found in xml.etree.ElementTree.fromstring(request["body"]).iter():
                if found.tag.endswith("Key"):
                    yield "delete", url + found.text, None
        elif not key or asked.keys() & {"uploads", "acl", "tagging", "versioning"}:
            continue
        elif method == "GET" and "uploadId" not in asked:
            found = re.match(r"bytes (\d+)-(\d+)/", request["answer"].get("content-range", ""))
            yield "get", url, found and (int(found[1]), int(found[2]))
        elif source:
            found = re.match(r"bytes=(\d+)-(\d+)", headers.get("x-amz-copy-source-range", ""))
            name = urllib.parse.unquote(source.partition("?")[0]).lstrip("/")
            yield "copied", "s3://" + name, found and (int(found[1]), int(found[2]))
            if "uploadId" not in asked:
                yield "copy", url, None
        elif method == "POST" and "uploadId" in asked:
            yield "multipart", url, None
        elif method == "PUT" and "uploadId" not in asked:
            yield "put", url, None
        elif method == "DELETE" and "uploadId" not in asked:
            yield "delete", url, None


def joined(ranges):
    """Ranges that touch become one."""
    out = []
    for first, last in sorted(ranges):
        if out and first <= out[-1][1] + 1:
            out[-1][1] = max(out[-1][1], last)
        else:
            out.append([first, last])
    return out


def summary(requests):
    """The reads, writes and deletes of one task that made these requests, by SEMANTICS.

    Reads: url to (how, ranges as one task's, or None when some request was for all of it).
    """
    reads, writes, deletes = {}, {}, set()
    for action, url, asked in accesses(requests):
        if action in ("get", "copied"):
            if url not in writes:
                how, ranges = reads.setdefault(url, (set(), []))
                how.add("get" if action == "get" else "copy")
                ranges.append(asked)
        elif action == "delete":
            if writes.pop(url, None) is None or url in reads:
                deletes.add(url)
        else:
            deletes.discard(url)
            writes[url] = action
    return (
        {url: (tuple(sorted(how)), None if None in ranges else joined(ranges))
         for url, (how, ranges) in reads.items()},
        writes,
        deletes,
    )
