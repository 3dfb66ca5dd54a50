"""The same two functions by each client: `get(client, url)` and `put(client, url, data)`.

AWS_ENDPOINT_URL says where.
"""

import os
import subprocess
import tempfile


def split(url):
    return url[len("s3://"):].split("/", 1)


def boto3_get(url):
    import boto3

    bucket, key = split(url)
    return boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()


def boto3_put(url, data):
    import boto3

    bucket, key = split(url)
    boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=data)


def s3fs_get(url):
    import s3fs

    return s3fs.S3FileSystem().cat(url)


def s3fs_put(url, data):
    import s3fs

    s3fs.S3FileSystem().pipe(url, data)


def arrow(url):
    from pyarrow import fs

    scheme, _, endpoint = os.environ["AWS_ENDPOINT_URL"].partition("://")
    return fs.S3FileSystem(
        endpoint_override=endpoint, scheme=scheme, tls_ca_file_path=os.environ.get("AWS_CA_BUNDLE")
    ), url[len("s3://"):]


def pyarrow_get(url):
    filesystem, path = arrow(url)
    with filesystem.open_input_stream(path) as opened:
        return opened.read()


def pyarrow_put(url, data):
    filesystem, path = arrow(url)
    with filesystem.open_output_stream(path) as opened:
        opened.write(data)


def awscli_get(url):
    return subprocess.run(["aws", "s3", "cp", "--only-show-errors", url, "-"], check=True,
                          stdout=subprocess.PIPE).stdout


def awscli_put(url, data):
    with tempfile.NamedTemporaryFile() as given:
        given.write(data)
        given.flush()
        subprocess.run(["aws", "s3", "cp", "--only-show-errors", given.name, url], check=True)


def presigned(url, operation):
    import boto3

    bucket, key = split(url)
    return boto3.client("s3").generate_presigned_url(operation, {"Bucket": bucket, "Key": key})


def curl_get(url):
    return subprocess.run(["curl", "-sS", "--fail", presigned(url, "get_object")], check=True,
                          stdout=subprocess.PIPE).stdout


def curl_put(url, data):
    subprocess.run(["curl", "-sS", "--fail", "--data-binary", "@-", "-X", "PUT", "-H", "Content-Type:",
                    presigned(url, "put_object")], check=True, input=data)


def rclone(command, url, **how):
    # It cannot have that, and takes SSL_CERT_FILE.
    env = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
    return subprocess.run(
        ["rclone", command, "s3:" + url[len("s3://"):]], check=True, env=env, **how).stdout


def rclone_get(url):
    return rclone("cat", url, stdout=subprocess.PIPE)


def rclone_put(url, data):
    rclone("rcat", url, input=data)


def get(client, url):
    return globals()[client + "_get"](url)


def put(client, url, data):
    globals()[client + "_put"](url, data)
