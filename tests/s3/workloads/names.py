"""Objects that are named by the host, or not at all: `python names.py URL USE`, where URL is a
store's of whose name and buckets' names nobody but this program knows where they are."""

import socket
import subprocess
import sys

import boto3
import requests
from botocore.config import Config

URL, USE = sys.argv[1:]
HOST = URL.split("/")[2].split(":")[0]
look_up = socket.getaddrinfo


def getaddrinfo(host, *args, **options):
    name = host.decode() if isinstance(host, bytes) else host
    return look_up("127.0.0.1" if name and name.endswith(HOST) else host, *args, **options)


def curl(url, *options):
    host, _, port = url.split("/")[2].partition(":")
    at = "%s:%s:127.0.0.1" % (host, port)
    return subprocess.run(["curl", "-sf", "--resolve", at, *options, url], check=True).returncode


socket.getaddrinfo = getaddrinfo
style = "path" if USE == "child" else "virtual"
client = boto3.client(
    "s3", endpoint_url=URL, config=Config(signature_version="s3v4", s3={"addressing_style": style}))


def signed(key, how="get_object"):
    return client.generate_presigned_url(how, Params={"Bucket": "data", "Key": key})


if USE == "boto":
    client.put_object(Bucket="data", Key="out/x", Body=b"x")
    client.put_object(Bucket="data", Key="data/x", Body=b"y")
    print(client.get_object(Bucket="data", Key="in/a")["Body"].read())
    client.copy_object(Bucket="data", Key="out/copy", CopySource="data/in/b")
    client.delete_objects(Bucket="data", Delete={"Objects": [{"Key": "in/c"}]})
elif USE in ("curl", "child"):
    print(curl(signed("in/a")), curl(signed("out/x", "put_object"), "-T", "given"))
elif USE == "form":
    form = client.generate_presigned_post("data", "out/x")
    answer = requests.post(form["url"], data=form["fields"], files={"file": b"posted"})
    print(answer.status_code)
elif USE == "given":
    # Signed by somebody else: nobody has told of the store's name.
    print(curl(sys.stdin.readline().strip()))
else:
    print(signed("in/a"))
