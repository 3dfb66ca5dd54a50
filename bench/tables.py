"""Results as Markdown."""

import ways
import workloads


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| %s |\n" % " | ".join(cells) for cells in lines)


def ratio_cell(results, workload, way, which):
    result = results.of[workload.name].get(way)
    if result is None:
        return ""
    if result.failure:
        return result.failure
    if way == ways.NATIVE:
        return "%.3f s" % getattr(result, which)
    ratio = results.ratio(workload.name, way, which, ways.NATIVE)
    return "%.2f" % ratio if ratio is not None else ""


def ratios(results, chosen, columns, which):
    head = ["", *columns]
    return table(head, [
        [workload.what, *(ratio_cell(results, workload, way, which) for way in columns)]
        for workload in chosen if workload.name in results.of
    ])


def per_operation(results, chosen, columns, which):
    """What each way adds to an operation, in nanoseconds; of native, the whole."""
    rows = []
    for workload in chosen:
        native = results.per_operation(workload, ways.NATIVE, which, workloads.START)
        if native is None:
            continue
        cells = [workload.what]
        for way in columns:
            cost = results.per_operation(workload, way, which, workloads.START)
            added = cost if way == ways.NATIVE else cost and cost - native
            cells.append("" if added is None else "%s%.0f" % (
                "" if way == ways.NATIVE else "+" if added >= 0 else "", 1e9 * added))
        rows.append(cells)
    return table(["ns per operation", *columns], rows)


def memory(found, chosen, allowed):
    def mebibytes(size):
        return "%.1f" % (size / (1 << 20))

    head = ["MiB", "tracing", "with digests", "files", "allowed", "launcher, with digests"]
    return table(head, [
        [workload.what, mebibytes(found[workload.name].plain.supervisor),
         mebibytes(found[workload.name].hashing.supervisor), str(found[workload.name].files),
         mebibytes(allowed(found[workload.name].files)),
         mebibytes(found[workload.name].hashing.launcher)]
        for workload in chosen if workload.name in found
    ])


def verdicts(rows):
    return table(["row", "asked, at most", "measured", "met"], [list(row) for row in rows])
