use super::*;

const CLUSTER: &str = r#"# my cluster
apiVersion: ray.io/v1
kind: RayCluster
metadata:
  name: c   # mine
spec:
  headGroupSpec:
    rayStartParams: {dashboard-host: '0.0.0.0'}
    template:
      spec:
        containers:
        - name: ray-head   # Ray's
          image: ray
          env:
            - name: MINE
              value: 'yes'
        - name: sidecar
          image: other
        volumes:
          - name: v
            configMap: {name: m, defaultMode: 0644}
  workerGroupSpecs:
  - groupName: small
    template: {spec: {containers: [{name: ray-worker, image: ray, env: [{name: A, value: b}]}]}}
  - groupName: large
    template:
      spec:
        containers:
          - image: ray
            env:
"#;

fn read(text: &str) -> serde_json::Value {
    fn value(node: &Node) -> Value {
        if let Some(text) = node.text() {
            return text.into();
        }
        if node.is_map() {
            return node
                .keys()
                .map(|key| (key.to_owned(), value(node.get(key).unwrap())))
                .collect();
        }
        node.items().iter().map(value).collect()
    }
    yaml::parse(text).unwrap().iter().map(value).collect()
}

fn names(list: &Value) -> Vec<&str> {
    let items = list.as_array().into_iter().flatten();
    items.map(|item| item["name"].as_str().unwrap()).collect()
}

#[test]
fn every_pod_of_a_cluster_gets_the_launcher_and_keeps_its_own() {
    let options = Options {
        image: Some("roar:1"),
        sink: Some("/shared"),
    };
    let prepared = prepare(CLUSTER, options).unwrap();
    assert_eq!(prepared.left, Vec::<String>::new());
    let document = &read(&prepared.text)[0]["spec"];
    let ours = [JOB_CONFIG, OVERRIDE, "ROAR_SINK"];
    let pods = [
        (&document["headGroupSpec"], vec!["MINE"]),
        (&document["workerGroupSpecs"][0], vec!["A"]),
        (&document["workerGroupSpecs"][1], vec![]),
    ];
    for (group, own) in pods {
        let pod = &group["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(names(&container["env"]), [&ours[..], &own].concat());
        let config: Value =
            serde_json::from_str(container["env"][0]["value"].as_str().unwrap()).unwrap();
        let executable = config["runtime_env"]["py_executable"].as_str().unwrap();
        assert!(
            executable.ends_with(" /opt/roar/roar-worker"),
            "{executable}"
        );
        assert_eq!(names(&container["volumeMounts"]), ["roar"]);
        assert_eq!(names(&pod["initContainers"]), ["roar"]);
        assert_eq!(names(&pod["volumes"])[0], "roar");
    }
    assert_eq!(
        document["headGroupSpec"]["template"]["spec"]["containers"][1]["env"],
        Value::Null
    );
    // Every line that was there still is, in its order.
    let mut lines = prepared.text.lines();
    for line in CLUSTER
        .lines()
        .filter(|line| !line.contains("- ") && !line.ends_with("env:"))
    {
        let line = line.trim();
        assert!(
            lines.any(|found| found.trim() == line),
            "{line}\n{}",
            prepared.text
        );
        if line.contains("defaultMode") {
            break;
        }
    }
    assert_eq!(
        prepare(&prepared.text, options).unwrap().text,
        prepared.text
    );
}

#[test]
fn a_job_and_a_service_get_it_in_their_runtime_env() {
    let text = r#"apiVersion: v1
kind: ConfigMap
data: {a: b}
---
apiVersion: ray.io/v1
kind: RayJob
spec:
  entrypoint: python x.py
  runtimeEnvYAML: |
    # mine
    pip:
      - six
    py_executable: python -X dev
    worker_process_setup_hook: a.b

  shutdownAfterJobFinishes: true
---
apiVersion: ray.io/v1
kind: RayJob
spec:
  entrypoint: python y.py
---
apiVersion: ray.io/v1
kind: RayService
spec:
  serveConfigV2: |
    applications:
      - name: one
        import_path: a.b
      - name: two
        runtime_env: {env_vars: {A: b}}
      - name: three
        runtime_env:
          image_uri: x
"#;
    let prepared = prepare(text, Options::default()).unwrap();
    let documents = read(&prepared.text);
    let documents = documents.as_array().unwrap();
    assert_eq!(documents[0], read(text)[0]);
    let inner = |document: usize, key: &str| {
        read(documents[document]["spec"][key].as_str().unwrap())[0].clone()
    };
    let first = inner(1, "runtimeEnvYAML");
    let executable = first["py_executable"].as_str().unwrap();
    assert!(
        executable.ends_with("/opt/roar/roar-worker python -X dev"),
        "{executable}"
    );
    assert_eq!(first["pip"], json!(["six"]));
    assert_eq!(first["worker_process_setup_hook"], "a.b");
    assert_eq!(documents[1]["spec"]["shutdownAfterJobFinishes"], "true");
    assert!(prepared.text.contains("    # mine\n"));
    let second = inner(2, "runtimeEnvYAML");
    assert!(is_ours(second["py_executable"].as_str()));
    let service = inner(3, "serveConfigV2");
    let applications = service["applications"].as_array().unwrap();
    assert!(is_ours(
        applications[0]["runtime_env"]["py_executable"].as_str()
    ));
    assert!(is_ours(
        applications[1]["runtime_env"]["py_executable"].as_str()
    ));
    assert_eq!(
        applications[1]["runtime_env"]["env_vars"],
        json!({"A": "b"})
    );
    assert_eq!(applications[2]["runtime_env"], json!({"image_uri": "x"}));
    assert_eq!(
        prepared.left,
        ["application three has image_uri, which starts the workers in its own way"]
    );
}

#[test]
fn json_stays_json_and_a_list_has_manifests_in_it() {
    let text = r#"{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Pod"},
        {"apiVersion": "ray.io/v1", "kind": "RayCluster", "spec": {"headGroupSpec":
            {"template": {"spec": {"containers": [{"name": "a"}]}}}}}]}"#;
    let prepared = prepare(text, Options::default()).unwrap();
    let list: Value = serde_json::from_str(&prepared.text).unwrap();
    let pod = &list["items"][1]["spec"]["headGroupSpec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["name"], "a");
    assert_eq!(names(&pod["containers"][0]["env"]).len(), 2);
}

#[test]
fn what_cannot_be_prepared_says_why() {
    let cluster = |spec: &str| format!("apiVersion: ray.io/v1\nkind: RayCluster\nspec: {spec}\n");
    for (text, why) in [
        ("a: [1\nb", "line "),
        ("", "there is no RayCluster"),
        ("kind: Pod\n", "there is no RayCluster"),
        (&cluster(""), "RayCluster without a spec"),
        (
            &cluster("{headGroupSpec: {}}"),
            "the head has no template.spec",
        ),
        (
            &cluster("{headGroupSpec: {template: {spec: {containers: []}}}}"),
            "the head has no container",
        ),
        (
            &cluster("{headGroupSpec: {template: {spec: {containers: [{env: x}]}}}}"),
            "env is no list",
        ),
    ] {
        let found = prepare(text, Options::default()).unwrap_err();
        assert!(found.starts_with(why), "{found}");
    }
    let deep = "[".repeat(100_000);
    assert!(prepare(&deep, Options::default()).is_err());
}
