//! A script that calls `ray.init()` itself.
//!
//! Ray merges the job configuration in `RAY_JOB_CONFIG_JSON_ENV_VAR` with the script's
//! own `runtime_env`; they may not set the same key, or `ray.init` raises, unless
//! `RAY_OVERRIDE_JOB_RUNTIME_ENV` is 1: then the script's wins. So only `py_executable` is
//! set, and that variable with it: a script that chooses its own runs with its own,
//! untraced.
//!
//! This serves scripts that find no shim (`python -I`, C++). Where it is found, it takes
//! both variables out again: the workers of a Ray that the script starts find the shim by
//! `PYTHONPATH`, are within its filter, and may be prestarted ones, of which Ray has none
//! for a job with a runtime environment (0.6 to 1 s to the first task); for a cluster that
//! it joins, the shim sets `py_executable` when it is known to be one.

use std::ffi::OsString;
use std::path::Path;

use roar_worker::shim::{PYTHONPATH, python_path};
use serde_json::{Map, Value};

use super::shell_quote;

/// The variable that Ray's drivers take a job configuration from.
pub const JOB_CONFIG: &str = "RAY_JOB_CONFIG_JSON_ENV_VAR";
/// The variable that lets a script's `runtime_env` win over the job's.
pub const OVERRIDE: &str = "RAY_OVERRIDE_JOB_RUNTIME_ENV";

/// The worker executable of a script's Ray: the launcher at an absolute path, which tells
/// what it records to be the job's. `None`: a path is not UTF-8.
pub fn executable(launcher: &Path, job: &str, root: &Path) -> Option<String> {
    let launcher = shell_quote(launcher.to_str()?);
    let root = shell_quote(root.to_str()?);
    Some(format!("{launcher} --job={job} --root={root} --"))
}

/// Variables that have the workers of a script's Ray started through `executable`.
/// `current` looks up the environment that the script would have had.
///
/// Empty when nothing can be set: the environment holds a configuration with a
/// `py_executable` of its own, or one that is not understood. An existing configuration also
/// keeps Ray's rule for conflicts with it.
///
/// `shim` is the directory of the Python part: with it the script itself tells which
/// objects it passes to tasks and gets from them.
pub fn environment(
    executable: &str,
    shim: Option<&Path>,
    current: impl Fn(&str) -> Option<OsString>,
) -> Vec<(OsString, OsString)> {
    let existing = current(JOB_CONFIG);
    let is_ours = existing.is_none() && current(OVERRIDE).is_none();
    let Some(config) = job_config(executable, existing) else {
        return Vec::new();
    };
    let mut variables = vec![(JOB_CONFIG.into(), config.into())];
    if let Some(shim) = shim {
        let path = python_path(current(PYTHONPATH), shim);
        variables.push((PYTHONPATH.into(), path));
    }
    if is_ours {
        variables.push((OVERRIDE.into(), "1".into()));
    }
    variables
}

/// A job configuration, which may be there already, with the worker executable. `None`: it
/// has one of its own, or is not understood.
pub fn job_config(executable: &str, existing: Option<OsString>) -> Option<String> {
    let mut config: Map<String, Value> = match existing {
        Some(text) => serde_json::from_str(text.to_str()?).ok()?,
        None => Map::new(),
    };
    let runtime_env = config
        .entry("runtime_env")
        .or_insert_with(|| Value::Object(Map::new()));
    if runtime_env.is_null() {
        *runtime_env = Value::Object(Map::new());
    }
    let runtime_env = runtime_env.as_object_mut()?;
    if runtime_env.contains_key("py_executable") {
        return None;
    }
    runtime_env.insert("py_executable".into(), executable.into());
    // Ray's C++ drivers and workers end where it is missing.
    config
        .entry("metadata")
        .or_insert_with(|| Value::Object(Map::new()));
    serde_json::to_string(&config).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(existing: Option<&str>) -> Option<Value> {
        let launcher = Path::new("/opt/my tools/roar-worker");
        let executable = executable(launcher, "j", Path::new("/p")).unwrap();
        let found = environment(&executable, None, |name| {
            (name == JOB_CONFIG).then_some(())?;
            existing.map(OsString::from)
        });
        let ((name, value), rest) = found.split_first()?;
        assert_eq!(name, JOB_CONFIG);
        let overrides = vec![(OsString::from(OVERRIDE), OsString::from("1"))];
        assert_eq!(
            rest,
            if existing.is_none() {
                overrides
            } else {
                vec![]
            }
        );
        Some(serde_json::from_str(value.to_str().unwrap()).unwrap())
    }

    #[test]
    fn sets_the_executable_quoted_for_a_shell() {
        let executable = "'/opt/my tools/roar-worker' --job=j --root=/p --";
        let expected = serde_json::json!({
            "runtime_env": {"py_executable": executable}, "metadata": {},
        });
        assert_eq!(config(None), Some(expected));
    }

    #[test]
    fn keeps_what_was_there() {
        let merged = config(Some(
            r#"{"metadata": {"a": "b"}, "runtime_env": {"env_vars": {"X": "1"}}}"#,
        ))
        .unwrap();
        assert_eq!(merged["metadata"]["a"], "b");
        assert_eq!(merged["runtime_env"]["env_vars"]["X"], "1");
        assert!(merged["runtime_env"]["py_executable"].is_string());
        assert!(config(Some(r#"{"runtime_env": null}"#)).is_some());
    }

    #[test]
    fn never_overrides_and_never_breaks_an_existing_configuration() {
        let own = r#"{"runtime_env": {"py_executable": "python3.11"}}"#;
        assert_eq!(config(Some(own)), None);
        assert_eq!(config(Some("not json")), None);
        assert_eq!(config(Some("[]")), None);
        assert_eq!(config(Some(r#"{"runtime_env": "x"}"#)), None);
    }
}
