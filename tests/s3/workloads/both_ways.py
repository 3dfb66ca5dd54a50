"""Gets an object and puts two, by each client: `python both_ways.py CLIENT[+CLIENT…] BUCKET`."""

import hashlib
import sys

import clients
from content import MIB, content

if __name__ == "__main__":
    names, bucket = sys.argv[1:]
    url = "s3://%s/" % bucket
    for client in names.split("+"):
        got = clients.get(client, url + "in/small")
        clients.put(client, url + "out/small", got[::-1])
        clients.put(client, url + "out/large", content(3 * MIB, "large"))
        print(hashlib.sha256(clients.get(client, url + "out/large")).hexdigest())
