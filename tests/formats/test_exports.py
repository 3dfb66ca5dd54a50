"""Exports, read by the programs that they are for."""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from google.protobuf import json_format


def names(files):
    return sorted(Path(file["path"]).name for file in files)


def by_step(dag):
    return [(names(node["reads"]), names(node["writes"])) for node in dag["nodes"]]


def test_prov(project):
    from prov.model import ProvActivity, ProvDocument, ProvEntity, ProvGeneration, ProvUsage

    dag = project.dag()
    document = ProvDocument.deserialize(content=project.export("prov"), format="json")
    label = {}
    for entity in document.get_records(ProvEntity):
        label[entity.identifier] = Path(next(iter(entity.get_attribute("prov:label")))).name
    step = {}
    for activity in document.get_records(ProvActivity):
        assert activity.get_startTime() <= activity.get_endTime()
        step[activity.identifier] = next(iter(activity.get_attribute("roar:step")))
    assert sorted(step.values()) == list(range(1, len(dag["nodes"]) + 1))

    files = {number: ([], []) for number in step.values()}
    for usage in document.get_records(ProvUsage):
        activity, entity = (value for _, value in usage.formal_attributes[:2])
        files[step[activity]][0].append(label[entity])
    made = set()
    for generation in document.get_records(ProvGeneration):
        entity, activity = (value for _, value in generation.formal_attributes[:2])
        files[step[activity]][1].append(label[entity])
        assert entity not in made
        made.add(entity)
    assert [tuple(map(sorted, files[number])) for number in sorted(files)] == by_step(dag)

    edges = {(edge["from"], edge["to"]) for edge in dag["edges"] if edge["via"] == "object"}
    assert edges
    informed = document.serialize(format="provn").count("wasInformedBy(")
    assert informed == len(edges)
    assert document.unified().get_records()


def test_openlineage(project):
    from openlineage.client import event_v2
    from openlineage.client.serde import Serde

    dag = project.dag()
    events = json.loads(project.export("openlineage"))
    assert len(events) == 2 * len(dag["nodes"])
    found = []
    for start, end in zip(events[::2], events[1::2]):
        assert start["eventType"] == "START"
        assert start["run"]["runId"] == end["run"]["runId"]
        found.append((end["eventType"], names_of(end["inputs"]), names_of(end["outputs"])))
        for event in (start, end):
            made = event_v2.RunEvent(
                eventType=event_v2.RunState[event["eventType"]],
                eventTime=event["eventTime"],
                run=event_v2.Run(runId=event["run"]["runId"]),
                job=event_v2.Job(namespace=event["job"]["namespace"], name=event["job"]["name"]),
                producer=event["producer"],
                inputs=[event_v2.InputDataset(namespace=one["namespace"], name=one["name"])
                        for one in event["inputs"]],
            )
            assert Serde.to_json(made)
    ends = {"completed": "COMPLETE", "failed": "FAIL"}
    expected = [(ends[node["status"]], names(node["reads"]), names(node["writes"]))
                for node in dag["nodes"]]
    assert found == expected
    failed = [event for event in events if event["eventType"] == "FAIL"]
    assert all(event["run"]["facets"]["errorMessage"]["message"] for event in failed)
    titles = {event["job"]["name"] for event in events}
    # Commands with other arguments are other jobs.
    assert sum(title.startswith("bash ") for title in titles) == 4
    assert {"part", "whole", "fails"} <= {title.split(".")[-1] for title in titles}
    runs = {event["run"]["runId"] for event in events}
    parents = [event["run"]["facets"]["parent"]["run"]["runId"]
               for event in events if "parent" in event["run"]["facets"]]
    assert parents and set(parents) <= runs


def names_of(datasets):
    assert all(one["namespace"] == "file" for one in datasets)
    return sorted(Path(one["name"]).name for one in datasets)


def test_ro_crate(project, tmp_path):
    from rocrate.rocrate import ROCrate

    crate_path = tmp_path / "crate"
    shutil.copytree(project.path, crate_path, ignore=shutil.ignore_patterns(".roar"))
    text = project.export("ro-crate")
    (crate_path / "ro-crate-metadata.json").write_text(text)
    crate = ROCrate(crate_path)
    dag = project.dag()
    actions = [crate.dereference(f"#task-{node['id']}") for node in dag["nodes"]]
    assert crate.root_dataset["mentions"] == actions
    found = []
    for action in actions:
        assert action.type == "CreateAction"
        assert action["instrument"].type == "SoftwareApplication"
        sides = [action.get("object", []), action.get("result", [])]
        found.append(tuple(sorted(Path(file["name"]).name for file in side) for side in sides))
    assert found == by_step(dag)
    # What is there as it was last has its own name, and is part of the crate.
    parts = {part.id for part in crate.root_dataset["hasPart"]}
    assert {"in", "out", "a%20%3Cfinal%3E", "whole", "parts/a"} <= parts
    assert sum(entity["name"] == "out" for entity in crate.contextual_entities
               if entity.type == "CreativeWork") == 1
    assert all(part.type == "File" for part in crate.root_dataset["hasPart"])
    crate.write(tmp_path / "written")
    written = json.loads((tmp_path / "written/ro-crate-metadata.json").read_text())
    ids = {entity["@id"] for entity in json.loads(text)["@graph"]}
    assert ids <= {entity["@id"] for entity in written["@graph"]}


def test_in_toto(project):
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement

    statements = json.loads(project.export("in-toto"))
    assert len(statements) == 5
    for one in statements:
        parsed = json_format.Parse(json.dumps(one), statement_pb2.Statement())
        Statement.copy_from_pb(parsed).validate()
    final = statements[2]
    assert [one["name"] for one in final["subject"]] == ["a <final>"]
    definition = final["predicate"]["buildDefinition"]
    dependencies = {one["name"]: one for one in definition["resolvedDependencies"]}
    assert set(dependencies) == {"out", "odd näme #1 ${X}"}
    subject = statements[1]["subject"]
    assert dependencies["out"]["digest"] == subject[0]["digest"]
    assert definition["externalParameters"]["command"][:2] == ["bash", "-c"]
    ray = {one["name"] for one in statements[4]["subject"]}
    assert ray == {"parts/a", "parts/b", "whole"}


def test_otlp(project):
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
    from opentelemetry.proto.trace.v1 import trace_pb2

    def in_base64(value):
        """Ids are hexadecimal in OTLP's JSON, where protobuf's own has base64."""
        if isinstance(value, dict):
            return {key: base64.b64encode(bytes.fromhex(one)).decode()
                    if key in ("traceId", "spanId", "parentSpanId") else in_base64(one)
                    for key, one in value.items()}
        return [in_base64(one) for one in value] if isinstance(value, list) else value

    dag = project.dag()
    document = in_base64(json.loads(project.export("otlp")))
    request = json_format.ParseDict(document, trace_service_pb2.ExportTraceServiceRequest())
    spans = [span for resource in request.resource_spans for scope in resource.scope_spans
             for span in scope.spans]
    assert len(spans) == len(dag["nodes"])
    known = {(span.trace_id, span.span_id) for span in spans}
    assert len(known) == len(spans)
    for span in spans:
        assert (len(span.trace_id), len(span.span_id)) == (16, 8)
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
        assert all((link.trace_id, link.span_id) in known for link in span.links)
        if span.parent_span_id:
            assert (span.trace_id, span.parent_span_id) in known
    edges = {(edge["from"], edge["to"]) for edge in dag["edges"]}
    assert sum(len(span.links) for span in spans) == len(edges)
    failed = [span.name for span in spans if span.status.code == trace_pb2.Status.STATUS_CODE_ERROR]
    assert len(failed) == sum(node["status"] == "failed" for node in dag["nodes"])
    final = spans[2]
    attributes = {one.key: one.value for one in final.attributes}
    writes = [one.string_value for one in attributes["roar.writes"].array_value.values]
    assert writes == [(project.path / "a <final>").as_uri()]


def test_dvc(pipeline, tmp_path):
    def dvc(*arguments):
        done = subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=copy,
                              env={**os.environ, "DVC_NO_ANALYTICS": "1"},
                              capture_output=True, timeout=300, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    copy = tmp_path / "copy"
    copy.mkdir()
    sources = ["in", "odd näme #1 ${X}"]
    for name in sources:
        shutil.copy(pipeline.path / name, copy)
    dvc("init", "--no-scm", "--quiet")
    (copy / "dvc.yaml").write_text(pipeline.export("dvc"))
    # The first step's result was gone over by the second.
    stages = dvc("stage", "list", "--name-only").split()
    assert stages == ["bash-2", "bash-3"]
    dvc("repro")
    for name in ["out", "a <final>"]:
        assert (copy / name).read_bytes() == (pipeline.path / name).read_bytes()
    assert "up to date" in dvc("status")
    (copy / "in").write_text("z")
    dvc("repro")
    assert (copy / "a <final>").read_text() == "zzy"
