"""A node goes away with an object, which is made again."""

import ray
from ray.cluster_utils import Cluster
from touching import first, touch


@ray.remote(max_retries=2)
def makes():
    attempt = 0 if first("makes") else 1
    touch("makes-%d" % attempt)
    return bytes(1_000_000)


@ray.remote
def uses(data):
    touch("uses")
    return len(data)


def main():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "resources": {"here": 1}})
    try:
        ray.init(address=cluster.address)
        there = cluster.add_node(num_cpus=1, resources={"there": 1})
        made = makes.options(resources={"there": 1}).remote()
        ray.wait([made], fetch_local=False)
        cluster.remove_node(there, allow_graceful=False)
        cluster.add_node(num_cpus=1, resources={"there": 1})
        assert ray.get(uses.options(resources={"here": 1}).remote(made)) == 1_000_000
    finally:
        ray.shutdown()
        cluster.shutdown()


main()
