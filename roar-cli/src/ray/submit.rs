//! `ray job submit`: detected by its command line, which is rewritten so that the job's
//! workers, and with the job supervisor its driver, are started through `roar-worker`.
//!
//! What is written is what a user could have written: a `--runtime-env-json` with a
//! `py_executable`, the launcher ([`super::ship`]) and a few environment variables, and a
//! `--submission-id`. Every other word is passed on as it came, in its order.

use std::ffi::OsString;
use std::path::Path;

use serde_json::{Map, Value};

use super::local::OVERRIDE;
use super::ship::{self, Shipped};
use crate::config::Ship;

/// Keys of a `runtime_env` beside which Ray allows no `py_executable`, or ignores it.
pub const OWN_WAY: &[&str] = &[
    "image_uri",
    "container",
    "nsight",
    "_nsight",
    "rocprof_sys",
    "_rocprof_sys",
];

/// The largest package that a cluster takes (bytes).
const PACKAGE_LIMIT: u64 = 100 << 20;

/// Options of `ray job submit` (2.54) that take a value. The others are flags.
const WITH_VALUE: &[&str] = &[
    "--address",
    "--job-id",
    "--submission-id",
    "--runtime-env",
    "--runtime-env-json",
    "--working-dir",
    "--metadata-json",
    "--entrypoint-num-cpus",
    "--entrypoint-num-gpus",
    "--entrypoint-memory",
    "--entrypoint-resources",
    "--entrypoint-label-selector",
    "--verify",
    "--headers",
    "--log-style",
    "--log-color",
];

/// A `ray job submit` as its command line tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The words up to and including `submit`.
    command: Vec<String>,
    /// The words after it, but for those that give the runtime environment.
    rest: Vec<String>,
    runtime_env: Option<String>,
    runtime_env_json: Option<String>,
    submission_id: Option<String>,
    /// `--working-dir`, as given.
    pub working_dir: Option<String>,
    /// `--address`, as given.
    pub address: Option<String>,
    /// `--headers`, as given (JSON).
    pub headers: Option<String>,
    /// `--verify`, as given: a truth value, or a path to certificates.
    pub verify: Option<String>,
    /// `--no-wait`: the command returns before the job has ended.
    pub no_wait: bool,
    /// The words of the job's entrypoint.
    pub entrypoint: Vec<String>,
}

/// What a traced job is told.
#[derive(Debug, Clone, Copy)]
pub struct Tracing<'a> {
    /// `roar-worker` where the cluster may have it too; else it is looked up on PATH.
    pub worker_launcher: &'a Path,
    /// Value of `ROAR_JOB`.
    pub job: &'a str,
    /// Value of `ROAR_ROOT`.
    pub root: &'a str,
    /// Submission id to use when the command line has none.
    pub submission_id: &'a str,
    /// How the launcher gets to the nodes; `None`: as it suits the job.
    pub ship: Option<Ship>,
    /// Where records are kept too.
    pub sink: Option<&'a str>,
    /// Where S3 is for the cluster.
    pub endpoint: Option<&'a str>,
}

/// A submission with tracing.
#[derive(Debug)]
pub struct Instrumented {
    /// The command to run instead.
    pub argv: Vec<OsString>,
    /// The submission id that the job will have.
    pub submission_id: String,
    /// What is uploaded with it; needed until it is.
    pub shipped: Shipped,
}

/// Why a job has to run as it was written, untraced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untraced {
    /// Ray itself chooses how its workers are started, and takes no other way.
    #[error("its runtime_env has {0}, which starts the workers in its own way")]
    OwnWay(String),
    /// The runtime environment could not be read.
    #[error("its runtime_env could not be read: {0}")]
    RuntimeEnv(String),
    /// The path of the launcher cannot be written as JSON.
    #[error("the path of roar-worker is not UTF-8")]
    Launcher,
    /// The launcher could not be prepared for shipping.
    #[error("roar-worker could not be prepared: {0}")]
    Ship(String),
}

/// Recognizes `ray job submit …` (`ray` by any path). `None` for all other commands, and
/// for one that Ray itself would refuse.
pub fn parse(argv: &[OsString]) -> Option<Submission> {
    let words: Vec<String> = argv
        .iter()
        .map(|word| word.to_str().map(str::to_owned))
        .collect::<Option<_>>()?;
    let program = Path::new(words.first()?).file_name()?.to_str()?;
    let mut at = 1;
    // The ray command's own options may come first.
    while let Some(word) = words.get(at).filter(|word| word.starts_with("--")) {
        at += match word.as_str() {
            "--logging-level" | "--logging-format" => 2,
            _ => 1,
        };
    }
    if program != "ray" || words.get(at..at + 2)? != ["job", "submit"] {
        return None;
    }
    let (command, mut rest) = words.split_at(at + 2);
    let mut found = Submission {
        command: command.to_vec(),
        rest: Vec::new(),
        runtime_env: None,
        runtime_env_json: None,
        submission_id: None,
        working_dir: None,
        address: None,
        headers: None,
        verify: None,
        no_wait: false,
        entrypoint: Vec::new(),
    };
    // As click reads it: options may stand between the words of the entrypoint, up to
    // `--`; of an option given twice the last counts.
    let mut job_id = None;
    while let [word, tail @ ..] = rest {
        rest = tail;
        if word == "--" {
            found.rest.push(word.clone());
            found.rest.extend_from_slice(rest);
            found.entrypoint.extend_from_slice(rest);
            break;
        }
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) if word.starts_with("--") => (name, Some(value.to_owned())),
            _ => (word.as_str(), None),
        };
        if !WITH_VALUE.contains(&name) {
            found.no_wait |= name == "--no-wait";
            if !(name.starts_with('-') && name.len() > 1) {
                found.entrypoint.push(word.clone());
            }
            found.rest.push(word.clone());
            continue;
        }
        let mut given = vec![word.clone()];
        let value = match inline {
            Some(value) => value,
            None => {
                let (value, tail) = rest.split_first()?;
                rest = tail;
                given.push(value.clone());
                value.clone()
            }
        };
        match name {
            "--runtime-env" => found.runtime_env = Some(value),
            "--runtime-env-json" => found.runtime_env_json = Some(value),
            "--working-dir" => found.working_dir = Some(value),
            other => {
                match other {
                    "--address" => found.address = Some(value),
                    "--headers" => found.headers = Some(value),
                    "--verify" => found.verify = Some(value),
                    "--submission-id" => found.submission_id = Some(value),
                    "--job-id" => job_id = Some(value),
                    _ => {}
                }
                found.rest.append(&mut given);
            }
        }
    }
    // Ray takes the id from either; from the first in its words `a or b`.
    found.submission_id = found.submission_id.or(job_id).filter(|id| !id.is_empty());
    let both = found.runtime_env.is_some() && found.runtime_env_json.is_some();
    (!both && !found.entrypoint.is_empty()).then_some(found)
}

impl Submission {
    /// Size of a local working directory (MiB), if it may be too large for Ray.
    pub fn oversize(&self) -> Option<u64> {
        let given = self.runtime_env_json.as_deref();
        let environment: Value = serde_json::from_str(given.unwrap_or("null")).ok()?;
        let named = self.working_dir.as_deref();
        let size = size_of(Path::new(named.or(environment["working_dir"].as_str())?));
        (size > PACKAGE_LIMIT).then_some(size >> 20)
    }

    /// The same submission with tracing. `read_yaml` gives the document of a
    /// `--runtime-env` file (see [`super::python::read_yaml`]), which is then given as
    /// JSON, since Ray accepts only one of both.
    pub fn instrument(
        &self,
        tracing: Tracing<'_>,
        read_yaml: impl FnOnce(&Path) -> Result<Value, String>,
    ) -> Result<Instrumented, Untraced> {
        let document = match (&self.runtime_env, &self.runtime_env_json) {
            (Some(file), _) => read_yaml(Path::new(file)).map_err(Untraced::RuntimeEnv)?,
            (None, Some(json)) => serde_json::from_str(json)
                .map_err(|error| Untraced::RuntimeEnv(error.to_string()))?,
            (None, None) => Value::Object(Map::new()),
        };
        let not_a_mapping = || Untraced::RuntimeEnv("not a mapping".into());
        let Value::Object(mut runtime_env) = document else {
            return Err(not_a_mapping());
        };
        if let Some(key) = OWN_WAY.iter().find(|key| is_set(&runtime_env, key)) {
            return Err(Untraced::OwnWay((*key).to_owned()));
        }
        if let Some(working_dir) = &self.working_dir {
            runtime_env.insert("working_dir".into(), working_dir.as_str().into());
        }
        let own = runtime_env.get("py_executable").and_then(Value::as_str);
        let executable = ship::py_executable(tracing.worker_launcher, own);
        runtime_env.insert(
            "py_executable".into(),
            executable.ok_or(Untraced::Launcher)?.into(),
        );
        let shipped = ship::put(&mut runtime_env, tracing.ship, tracing.worker_launcher)
            .map_err(Untraced::Ship)?;
        let variables = runtime_env
            .entry("env_vars")
            .or_insert_with(|| Value::Object(Map::new()))
            .as_object_mut()
            .ok_or_else(not_a_mapping)?;
        variables.insert("ROAR_JOB".into(), tracing.job.into());
        variables.insert("ROAR_ROOT".into(), tracing.root.into());
        // The driver may have a runtime_env of its own with a key that is ours.
        variables.entry(OVERRIDE).or_insert_with(|| "1".into());
        if let Some(sink) = tracing.sink {
            variables.insert("ROAR_SINK".into(), sink.into());
        }
        if let Some(endpoint) = tracing.endpoint {
            let own = variables.entry("AWS_ENDPOINT_URL");
            own.or_insert_with(|| endpoint.into());
        }

        let mut argv: Vec<OsString> = self.command.iter().map(OsString::from).collect();
        if self.working_dir.is_some()
            && let Some(Value::String(working_dir)) = runtime_env.remove("working_dir")
        {
            argv.extend(["--working-dir".into(), working_dir.into()]);
        }
        argv.push("--runtime-env-json".into());
        argv.push(Value::Object(runtime_env).to_string().into());
        let submission_id = match &self.submission_id {
            Some(id) => id.clone(),
            None => {
                argv.push("--submission-id".into());
                argv.push(tracing.submission_id.into());
                tracing.submission_id.to_owned()
            }
        };
        argv.extend(self.rest.iter().map(OsString::from));
        Ok(Instrumented {
            argv,
            submission_id,
            shipped,
        })
    }
}

/// Bytes of a directory's files. What Ray would leave out counts too.
fn size_of(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => size_of(&entry.path()),
        _ => entry.metadata().map_or(0, |data| data.len()),
    });
    sizes.sum()
}

fn is_set(runtime_env: &Map<String, Value>, key: &str) -> bool {
    runtime_env.get(key).is_some_and(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn tracing() -> Tracing<'static> {
        Tracing {
            worker_launcher: Path::new("/opt/roar-worker"),
            job: "j1",
            root: "/project",
            submission_id: "roar-1",
            ship: Some(Ship::Path),
            sink: None,
            endpoint: None,
        }
    }

    fn no_yaml(_: &Path) -> Result<Value, String> {
        Err("not expected".into())
    }

    fn instrument(line: &str) -> (Vec<String>, Value) {
        let done = parse(&words(line))
            .unwrap()
            .instrument(tracing(), no_yaml)
            .unwrap();
        let argv: Vec<String> = done
            .argv
            .iter()
            .map(|word| word.to_str().unwrap().to_owned())
            .collect();
        let at = argv.iter().position(|w| w == "--runtime-env-json").unwrap();
        (argv.clone(), serde_json::from_str(&argv[at + 1]).unwrap())
    }

    #[test]
    fn only_ray_job_submit_is_one() {
        assert!(parse(&words("ray job submit -- python x.py")).is_some());
        assert!(parse(&words("/venv/bin/ray job submit python x.py")).is_some());
        assert!(parse(&words("ray --logging-level debug job submit ls")).is_some());
        assert!(parse(&words("ray job list")).is_none());
        assert!(parse(&words("python -m ray job submit -- x")).is_none());
        assert!(parse(&words("ray")).is_none());
        assert!(parse(&words("ray job submit --no-wait")).is_none());
        assert!(parse(&words("ray job submit x --address")).is_none());
        assert!(parse(&[]).is_none());
    }

    #[test]
    fn options_are_read_as_click_reads_them() {
        let found = parse(&words(
            "ray job submit --address http://h:1 --working-dir=. python --no-wait x.py -- --address y",
        ))
        .unwrap();
        assert_eq!(found.address.as_deref(), Some("http://h:1"));
        assert!(found.no_wait);
        assert_eq!(found.entrypoint, ["python", "x.py", "--address", "y"]);
        let ended = parse(&words("ray job submit -- python x.py --no-wait")).unwrap();
        assert!(!ended.no_wait);
    }

    #[test]
    fn the_other_words_stay_as_they_were() {
        let (argv, env) = instrument("ray job submit --working-dir . -- python x.py --a");
        let words = [
            "ray",
            "job",
            "submit",
            "--working-dir",
            ".",
            "--runtime-env-json",
        ];
        assert_eq!(argv[..6], words);
        assert_eq!(
            argv[7..],
            ["--submission-id", "roar-1", "--", "python", "x.py", "--a"]
        );
        assert_eq!(
            env["env_vars"],
            json!({"ROAR_JOB": "j1", "ROAR_ROOT": "/project", OVERRIDE: "1"})
        );
    }

    #[test]
    fn a_runtime_env_is_merged_and_a_submission_id_kept() {
        let (argv, env) = instrument(
            r#"ray job submit --runtime-env-json {"env_vars":{"X":"1"},"pip":["six"]} --submission-id mine -- ls"#,
        );
        assert_eq!(env["pip"], json!(["six"]));
        assert_eq!(env["env_vars"]["X"], "1");
        assert_eq!(env["env_vars"]["ROAR_JOB"], "j1");
        let own = instrument(r#"ray job submit --runtime-env-json {"py_executable":"p|-q"} -- x"#);
        let executable = own.1["py_executable"].as_str().unwrap();
        assert!(
            executable.ends_with(" /opt/roar-worker p|-q"),
            "{executable}"
        );
        assert_eq!(
            argv.iter().filter(|w| *w == "--runtime-env-json").count(),
            1
        );
        assert_eq!(argv[5..], ["--submission-id", "mine", "--", "ls"]);
    }

    #[test]
    fn a_sink_and_the_clusters_endpoint_go_along_unless_the_job_has_its_own() {
        let told = Tracing {
            sink: Some("s3://bucket/a/"),
            endpoint: Some("http://minio:9000"),
            ..tracing()
        };
        for (own, endpoint) in [
            ("{}", "http://minio:9000"),
            (r#"{"env_vars":{"AWS_ENDPOINT_URL":"own"}}"#, "own"),
        ] {
            let line = format!("ray job submit --runtime-env-json {own} -- ls");
            let done = parse(&words(&line)).unwrap().instrument(told, no_yaml);
            let json = done.unwrap().argv[4].to_str().unwrap().to_owned();
            let variables = &serde_json::from_str::<Value>(&json).unwrap()["env_vars"];
            assert_eq!(variables["ROAR_SINK"], "s3://bucket/a/");
            assert_eq!(variables["AWS_ENDPOINT_URL"], endpoint);
        }
    }

    #[test]
    fn a_yaml_file_is_given_as_json() {
        let found = parse(&words("ray job submit --runtime-env=env.yaml -- ls")).unwrap();
        let done = found
            .instrument(tracing(), |file| {
                assert_eq!(file, Path::new("env.yaml"));
                Ok(json!({"working_dir": "."}))
            })
            .unwrap();
        assert!(!done.argv.iter().any(|w| w == "--runtime-env=env.yaml"));
        assert!(done.argv[4].to_str().unwrap().contains("working_dir"));
        assert_eq!(done.submission_id, "roar-1");
    }

    #[test]
    fn what_cannot_be_merged_runs_untraced() {
        let untraced = |line: &str| {
            parse(&words(line))
                .unwrap()
                .instrument(tracing(), no_yaml)
                .unwrap_err()
        };
        assert_eq!(
            untraced(r#"ray job submit --runtime-env-json {"image_uri":"p"} -- ls"#),
            Untraced::OwnWay("image_uri".into())
        );
        for line in [
            "ray job submit --runtime-env-json { -- ls",
            "ray job submit --runtime-env-json [] -- ls",
            r#"ray job submit --runtime-env-json {"env_vars":[]} -- ls"#,
            "ray job submit --runtime-env x.yaml -- ls",
        ] {
            assert!(matches!(untraced(line), Untraced::RuntimeEnv(_)), "{line}");
        }
    }
}
