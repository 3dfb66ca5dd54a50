"""A task that stops at a breakpoint between its files. DIRECTORY"""

import os
import sys

import ray


@ray.remote
def pauses(directory):
    answer = 41
    with open(os.path.join(directory, "before"), "w") as file:
        file.write(str(answer))
    breakpoint()
    with open(os.path.join(directory, "after"), "w") as file:
        file.write(str(answer))
    return answer


ray.init()
print("returned", ray.get(pauses.remote(sys.argv[1])))
