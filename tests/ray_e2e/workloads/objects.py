"""Passes objects in every way: small and large, put, nested, to actors, from generators."""

import asyncio
import sys

import ray

ray.init()


@ray.remote
def small():
    return 1


@ray.remote
def large():
    return b"x" * 500_000


@ray.remote
def join(*values, **named):
    return len(values) + len(named)


@ray.remote
def unwrap(box):
    return ray.get(box[0])


@ray.remote
def own_put():
    return [ray.put("kept")]


@ray.remote
def outer():
    return ray.get(inner.remote(ray.put([0] * 50_000)))


@ray.remote
def inner(values):
    return len(values)


@ray.remote(num_returns="streaming")
def stream():
    for number in range(2):
        yield number


@ray.remote(max_retries=1, retry_exceptions=True)
def second_time(path, value):
    try:
        open(path, "x").close()
    except FileExistsError:
        return value
    raise RuntimeError("the first time")


@ray.remote
class Model:
    def __init__(self, weights):
        self.weights = weights

    def predict(self, data):
        return len(data)


@ray.remote
class Async:
    async def first(self, box):
        await asyncio.sleep(0.3)
        return await box[0] + 1

    async def second(self, box):
        values = await asyncio.gather(*box)
        await asyncio.sleep(0.3)
        return len(values)


@ray.remote
def score(prediction):
    return prediction


one = small.remote()
ray.wait([one])  # its value is here now, and is copied into the tasks that get it
many = large.remote()
joined = join.remote(one, many, named=one)
unwrapped = unwrap.remote([one])
(kept,) = ray.get(own_put.remote())
put = ray.put("from the driver")
last = join.remote(joined, kept, put)
model = Model.remote(many)
scored = score.remote(model.predict.remote(many))
items = list(stream.remote())
streamed = join.remote(*items)
again = second_time.remote(sys.argv[1], one)
waiter = Async.remote()
awaited = [waiter.first.remote([one]), waiter.second.remote([many, kept])]
print(ray.get(awaited + [unwrapped, last, scored, outer.remote(), streamed, again]))
