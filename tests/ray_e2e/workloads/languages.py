"""Python, then C++ or Java, then Python, by files.

    python languages.py cpp LIBRARY OUT
    python languages.py java JAR OUT
"""

import os
import sys

import ray
from ray import cross_language


@ray.remote
def count(length, source, target):
    with open(source) as made, open(target, "w") as out:
        out.write("%s, %d" % (made.read(), length))


def main():
    language, library, out = sys.argv[1:]
    words, upper, counted = (os.path.join(out, name) for name in ("words", "upper", "counted"))
    with open(words, "w") as target:
        target.write("some words")
    here = os.path.dirname(os.path.abspath(__file__))
    ray.init(job_config=ray.job_config.JobConfig(code_search_path=[library, here]))
    if language == "cpp":
        function = cross_language.cpp_function("Upper")
    else:
        function = cross_language.java_function("Upper", "upper")
    length = function.remote(words, upper)
    ray.get(count.remote(length, upper, counted))
    with open(counted) as source:
        print(source.read())


if __name__ == "__main__":
    main()
