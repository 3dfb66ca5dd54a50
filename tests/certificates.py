"""Certificates of servers that the tests run, by openssl."""

import os
import subprocess

SUBJECT = ["-subj", "/CN=Test", "-addext", "subjectAltName=IP:127.0.0.1"]


def openssl(directory, *words):
    subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)


def authority(directory, name):
    """A certificate authority's certificate; its key is beside it."""
    key = ["-newkey", "rsa:2048", "-nodes", "-keyout", name + ".key"]
    openssl(directory, "req", "-x509", *key, "-out", name + ".pem", "-subj", "/CN=" + name)
    return os.path.join(directory, name + ".pem")


def signed(directory, by):
    """A certificate for this machine, and its key."""
    key = ["-newkey", "rsa:2048", "-nodes", "-keyout", "front.key"]
    openssl(directory, "req", *key, "-out", "front.csr", *SUBJECT)
    issuer = ["-CA", by + ".pem", "-CAkey", by + ".key", "-CAcreateserial"]
    openssl(directory, "x509", "-req", "-in", "front.csr", *issuer, "-copy_extensions", "copy",
            "-out", "front.pem")
    return os.path.join(directory, "front.pem"), os.path.join(directory, "front.key")
