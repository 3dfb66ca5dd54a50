//! `ray job submit`: detected by its command line, which is rewritten so that the job's
//! workers, and with the job supervisor its driver, are started through `roar-worker`.
//!
//! What is written is what a user could have written: a `--runtime-env-json` with a
//! `py_executable` and two environment variables, and a `--submission-id`. Every other
//! word is passed on as it came, in its order.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Map, Value};

use super::shell_quote;

/// Where jobs are submitted when nothing says otherwise.
pub const DEFAULT_ADDRESS: &str = "http://127.0.0.1:8265";

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
    /// The words after it, but for the two that give the runtime environment.
    rest: Vec<String>,
    runtime_env: Option<String>,
    runtime_env_json: Option<String>,
    submission_id: Option<String>,
    /// `--address`, as given.
    pub address: Option<String>,
    /// `--headers`, as given (JSON).
    pub headers: Option<String>,
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
}

/// A submission with tracing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instrumented {
    /// The command to run instead.
    pub argv: Vec<OsString>,
    /// The submission id that the job will have.
    pub submission_id: String,
}

/// Why a job has to run as it was written, untraced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untraced {
    /// The job chooses its own worker executable.
    #[error("its runtime_env sets py_executable")]
    OwnExecutable,
    /// The runtime environment could not be read.
    #[error("its runtime_env could not be read: {0}")]
    RuntimeEnv(String),
    /// The path of the launcher cannot be written as JSON.
    #[error("the path of roar-worker is not UTF-8")]
    Launcher,
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
        address: None,
        headers: None,
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
            other => {
                match other {
                    "--address" => found.address = Some(value),
                    "--headers" => found.headers = Some(value),
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
    /// The same submission with tracing. `read_yaml` gives the document of a
    /// `--runtime-env` file (see [`read_yaml`]), which is then given as JSON, since Ray
    /// accepts only one of both.
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
        if runtime_env.contains_key("py_executable") {
            return Err(Untraced::OwnExecutable);
        }
        let variables = runtime_env
            .entry("env_vars")
            .or_insert_with(|| Value::Object(Map::new()))
            .as_object_mut()
            .ok_or_else(not_a_mapping)?;
        variables.insert("ROAR_JOB".into(), tracing.job.into());
        variables.insert("ROAR_ROOT".into(), tracing.root.into());
        let executable = py_executable(tracing.worker_launcher).ok_or(Untraced::Launcher)?;
        runtime_env.insert("py_executable".into(), executable.into());

        let mut argv: Vec<OsString> = self.command.iter().map(OsString::from).collect();
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
        })
    }

    /// The dashboard's URL, as the `ray` command would find it: the environment wins over
    /// `--address`. `None` when only Ray itself can tell ([`ask_ray_for_address`]).
    pub fn dashboard(&self, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
        let address = ["RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"]
            .into_iter()
            .filter_map(variable)
            .find(|value| !value.is_empty())
            .or_else(|| self.address.clone())?;
        let is_http = address.starts_with("http://") || address.starts_with("https://");
        is_http.then(|| address.trim_end_matches('/').to_owned())
    }
}

/// The worker executable of a submitted job.
///
/// Ray writes it unquoted into `bash -c "… exec <py_executable> <arguments>"`. This one
/// still starts the job where there is no `roar-worker`: it takes the given path if that
/// can be executed on the node, else `roar-worker` on PATH, else the interpreter that Ray
/// would have taken: the activated virtual environment's, conda's, or the raylet's. Each
/// step is an exec, so the process keeps the pid that the raylet knows.
fn py_executable(worker_launcher: &Path) -> Option<String> {
    const CHOOSE: &str = r#"[ -f "$0" ] && [ -x "$0" ] && exec "$0" -- "$@"
command -v roar-worker >/dev/null 2>&1 && exec roar-worker -- "$@"
for p in "$VIRTUAL_ENV" "$CONDA_PREFIX"; do [ -n "$p" ] && [ -x "$p/bin/python" ] && exec "$p/bin/python" "$@"; done
p=$(tr "\0" "\n" <"/proc/$PPID/cmdline" | sed -n "s/^--python_worker_command=\([^ ]*\).*/\1/p")
exec "${p:-python3}" "$@""#;
    let launcher = shell_quote(worker_launcher.to_str()?);
    Some(format!("sh -c {} {launcher}", shell_quote(CHOOSE)))
}

/// Reads a YAML file as JSON, with the YAML reader of the Python that `ray` belongs to.
/// `ray` is the program as the command names it.
pub fn read_yaml(ray: &OsStr, file: &Path) -> Result<Value, String> {
    const CONVERT: &str =
        "import json,sys,yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let text = run_python(ray, &[CONVERT.as_ref(), file.as_os_str()])?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

/// Has Ray resolve an address (`auto`, `ray://…`, `host:6379`, none) to the dashboard's.
/// It takes Ray's own import time, about a second.
pub fn ask_ray_for_address(ray: &OsStr, address: Option<&str>) -> Result<String, String> {
    const RESOLVE: &str = "import sys
from ray.dashboard.utils import get_address_for_submission_client as resolve
print(resolve(sys.argv[1] or None))";
    let text = run_python(ray, &[RESOLVE.as_ref(), address.unwrap_or("").as_ref()])?;
    let last = text.trim().lines().last().unwrap_or("").trim();
    if last.is_empty() {
        return Err("no address".into());
    }
    let scheme = if last.contains("://") { "" } else { "http://" };
    Ok(format!("{scheme}{}", last.trim_end_matches('/')))
}

fn run_python(ray: &OsStr, code_and_arguments: &[&OsStr]) -> Result<String, String> {
    let python = python_of(ray).ok_or("the interpreter of the ray command was not found")?;
    let output = Command::new(&python)
        .arg("-c")
        .args(code_and_arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", python.display()))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(text.trim().lines().last().unwrap_or("it failed").to_owned());
    }
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}

/// The interpreter in the first line of a script, which is looked up as a shell would.
fn python_of(ray: &OsStr) -> Option<PathBuf> {
    let script = if ray.as_encoded_bytes().contains(&b'/') {
        PathBuf::from(ray)
    } else {
        std::env::split_paths(&std::env::var_os("PATH")?)
            .map(|directory| directory.join(ray))
            .find(|path| path.is_file())?
    };
    let mut line = Vec::new();
    BufReader::new(File::open(&script).ok()?.take(4096))
        .read_until(b'\n', &mut line)
        .ok()?;
    let line = String::from_utf8(line).ok()?;
    let interpreter = line.strip_prefix("#!")?.split_whitespace().next()?;
    if Path::new(interpreter).file_name()? == "env" {
        return line.split_whitespace().nth(1).map(PathBuf::from);
    }
    if Path::new(interpreter).file_name()? == "sh" {
        // Long paths: installers write `#!/bin/sh` and an exec of the python beside.
        let beside = script.parent()?.join("python3");
        return beside.is_file().then_some(beside);
    }
    Some(PathBuf::from(interpreter))
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
        assert_eq!(argv[..4], ["ray", "job", "submit", "--runtime-env-json"]);
        assert_eq!(
            argv[5..],
            [
                "--submission-id",
                "roar-1",
                "--working-dir",
                ".",
                "--",
                "python",
                "x.py",
                "--a"
            ]
        );
        assert_eq!(
            env["env_vars"],
            json!({"ROAR_JOB": "j1", "ROAR_ROOT": "/project"})
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
        assert_eq!(
            argv.iter().filter(|w| *w == "--runtime-env-json").count(),
            1
        );
        assert_eq!(argv[5..], ["--submission-id", "mine", "--", "ls"]);
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
            untraced(r#"ray job submit --runtime-env-json {"py_executable":"p"} -- ls"#),
            Untraced::OwnExecutable
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

    #[test]
    fn the_environment_wins_over_the_address_option() {
        let found = parse(&words("ray job submit --address http://a:1/ -- ls")).unwrap();
        assert_eq!(found.dashboard(|_| None).as_deref(), Some("http://a:1"));
        let of = |name: &'static str, value: &'static str| {
            move |asked: &str| (asked == name).then(|| value.to_owned())
        };
        let from = found.dashboard(of("RAY_API_SERVER_ADDRESS", "https://b"));
        assert_eq!(from.as_deref(), Some("https://b"));
        assert_eq!(found.dashboard(of("RAY_ADDRESS", "auto")), None);
    }

    /// Runs the expression as Ray does, where neither launcher nor raylet exist.
    #[test]
    fn a_missing_launcher_is_survived() {
        let run = |launcher: &str, environment: &[(&str, &str)]| {
            let executable = py_executable(Path::new(launcher)).unwrap();
            let output = Command::new("bash")
                .args(["-c", &format!("exec {executable} -c 'print(1+1)'")])
                .env_remove("VIRTUAL_ENV")
                .env_remove("CONDA_PREFIX")
                .envs(environment.iter().copied())
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(run("/nonexistent/roar-worker", &[]), "2\n");
        assert_eq!(run("/nonexistent/it's a roar", &[]), "2\n");
        assert_eq!(
            run("/nonexistent/roar", &[("VIRTUAL_ENV", "/nonexistent")]),
            "2\n"
        );
        assert_eq!(run("/bin/echo", &[]), "-- -c print(1+1)\n");
    }
}
