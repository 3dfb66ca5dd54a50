"""A second job, which calls the actor of the first one."""

import sys

import ray
from touching import touch

ray.init(address=sys.argv[1], namespace="kinds")
counter = ray.get_actor("counter")
ray.get(counter.method.remote("counter-second"))


@ray.remote
def of_second():
    touch("of_second")


ray.get(of_second.remote())
