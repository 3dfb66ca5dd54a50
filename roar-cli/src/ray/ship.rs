//! Getting `roar-worker` to the nodes of a cluster, and having Ray start workers through
//! it there.
//!
//! The job brings it along: in its `working_dir`, as one of its `py_modules` or of its
//! `pip` requirements. What is uploaded is named by its content, so that a cluster takes
//! it once. Nothing depends on its arrival: where it is not found, the worker is started
//! as Ray would have started it.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Map, Value};
use tempfile::TempDir;

use super::shell_quote;
use crate::config::Ship;
use crate::project;

/// The launcher's name, here and there.
const LAUNCHER: &str = "roar-worker";
/// The directory that it is in, as a module.
const MODULE: &str = "roar_worker_bin";
/// What brings it, as a requirement.
const DISTRIBUTION: &str = "roar-tracer";

/// What is uploaded with a job. Keep it until that is done.
#[derive(Debug, Default)]
pub struct Shipped {
    /// How it goes.
    pub how: Option<Ship>,
    _directories: Vec<TempDir>,
}

/// The worker executable of a job.
///
/// Ray writes it unquoted into `bash -c "… exec <py_executable> <arguments>"`. This one
/// still starts the worker where there is no launcher: it takes the first that can be
/// executed of the job's own, the one at the given path and the one on `PATH`, else
/// `own`, the job's own worker executable, else the interpreter that Ray would have
/// taken: the activated virtual environment's, conda's, or the raylet's. Each step is an
/// exec, so the process keeps the pid that the raylet knows. `None`: the path is not UTF-8.
pub fn py_executable(launcher: &Path, own: Option<&str>) -> Option<String> {
    const FIND: &str = r#"set -f; IFS=:; for d in $PYTHONPATH; do
[ -x "$d/roar_worker_bin/roar-worker" ] && exec "$d/roar_worker_bin/roar-worker" -- "$@"
done; unset IFS
[ -f ./roar-worker ] && [ -x ./roar-worker ] && exec ./roar-worker -- "$@"
[ -f "$0" ] && [ -x "$0" ] && exec "$0" -- "$@"
command -v roar-worker >/dev/null 2>&1 && exec roar-worker -- "$@"
"#;
    const CHOOSE: &str = r#"for p in "$VIRTUAL_ENV" "$CONDA_PREFIX"; do [ -n "$p" ] && [ -x "$p/bin/python" ] && exec "$p/bin/python" "$@"; done
p=$(tr "\0" "\n" <"/proc/$PPID/cmdline" | sed -n "s/^--python_worker_command=\([^ ]*\).*/\1/p")
exec "${p:-python3}" "$@""#;
    let launcher = shell_quote(launcher.to_str()?);
    Some(match own {
        Some(own) => {
            let script = shell_quote(&format!("{FIND}exec \"$@\""));
            format!("sh -c {script} {launcher} {own}")
        }
        None => {
            let script = shell_quote(&format!("{FIND}{CHOOSE}"));
            format!("sh -c {script} {launcher}")
        }
    })
}

/// Puts the launcher into a job's `runtime_env`, in the given way, or as a module where
/// that way is not open to this job, and takes `.roar` out of its working directory.
pub fn put(
    runtime_env: &mut Map<String, Value>,
    how: Option<Ship>,
    launcher: &Path,
) -> Result<Shipped, String> {
    let mut shipped = put_launcher(runtime_env, how, launcher)?;
    let staged = take_record_out(runtime_env).map_err(|error| error.to_string())?;
    shipped._directories.extend(staged);
    Ok(shipped)
}

/// Where there is none to ship, nothing changes.
fn put_launcher(
    runtime_env: &mut Map<String, Value>,
    how: Option<Ship>,
    launcher: &Path,
) -> Result<Shipped, String> {
    if !launcher.is_file() && how != Some(Ship::Pip) {
        return Ok(Shipped::default());
    }
    let as_module = |runtime_env: &mut Map<String, Value>| {
        let shipped = put_module(runtime_env, launcher)?;
        Ok::<_, io::Error>(shipped.unwrap_or_default())
    };
    let shipped = match how {
        Some(Ship::Path) => Ok(Shipped::default()),
        Some(Ship::Pip) if put_requirement(runtime_env) => Ok(Shipped {
            how,
            _directories: Vec::new(),
        }),
        Some(Ship::WorkingDir) => match put_beside(runtime_env, launcher) {
            Ok(None) => as_module(runtime_env),
            Ok(Some(shipped)) => Ok(shipped),
            Err(error) => Err(error),
        },
        Some(Ship::PyModules | Ship::Pip) | None => as_module(runtime_env),
    };
    shipped.map_err(|error| error.to_string())
}

/// As a module. `None`: the job's modules are not a list.
fn put_module(
    runtime_env: &mut Map<String, Value>,
    launcher: &Path,
) -> io::Result<Option<Shipped>> {
    let modules = runtime_env
        .entry("py_modules")
        .or_insert_with(|| Value::Array(Vec::new()));
    if modules.is_null() {
        *modules = Value::Array(Vec::new());
    }
    let Some(modules) = modules.as_array_mut() else {
        return Ok(None);
    };
    let directory = tempfile::Builder::new().prefix("roar-ship-").tempdir()?;
    let module = directory.path().join(MODULE);
    fs::create_dir(&module)?;
    symlink(fs::canonicalize(launcher)?, module.join(LAUNCHER))?;
    modules.push(module.to_string_lossy().into());
    Ok(Some(Shipped {
        how: Some(Ship::PyModules),
        _directories: vec![directory],
    }))
}

/// Beside what is in the working directory. `None`: the job has none, or it is no local
/// directory, or has a file of that name.
fn put_beside(
    runtime_env: &mut Map<String, Value>,
    launcher: &Path,
) -> io::Result<Option<Shipped>> {
    let local = runtime_env
        .get("working_dir")
        .and_then(Value::as_str)
        .map(Path::new)
        .filter(|path| path.is_dir() && path.join(LAUNCHER).symlink_metadata().is_err());
    let Some(local) = local else {
        return Ok(None);
    };
    let directory = staged(local)?;
    symlink(fs::canonicalize(launcher)?, directory.path().join(LAUNCHER))?;
    let path = directory.path().to_string_lossy().into_owned();
    runtime_env.insert("working_dir".into(), path.into());
    Ok(Some(Shipped {
        how: Some(Ship::WorkingDir),
        _directories: vec![directory],
    }))
}

/// Ray reads a local working directory twice, and says in between that there is a
/// `.gitignore`, excluded or not. Where that goes to a file in there, what it uploads is
/// not what it names. `None`: there is no `.roar` in it.
fn take_record_out(runtime_env: &mut Map<String, Value>) -> io::Result<Option<TempDir>> {
    let local = runtime_env.get("working_dir").and_then(Value::as_str);
    let with_record = |path: &&Path| path.join(project::DIRECTORY).is_dir();
    let Some(local) = local.map(Path::new).filter(with_record) else {
        return Ok(None);
    };
    let directory = staged(local)?;
    let path = directory.path().to_string_lossy().into_owned();
    runtime_env.insert("working_dir".into(), path.into());
    Ok(Some(directory))
}

/// A directory with all that is in `local`, but for `.roar`.
fn staged(local: &Path) -> io::Result<TempDir> {
    let directory = tempfile::Builder::new().prefix("roar-ship-").tempdir()?;
    for entry in fs::read_dir(fs::canonicalize(local)?)? {
        let entry = entry?;
        if entry.file_name() != project::DIRECTORY {
            symlink(entry.path(), directory.path().join(entry.file_name()))?;
        }
    }
    Ok(directory)
}

/// As a requirement, for `uv` where the job uses that. False: the job uses conda, or what
/// it requires is not understood.
fn put_requirement(runtime_env: &mut Map<String, Value>) -> bool {
    let is_set = |key: &str| runtime_env.get(key).is_some_and(|value| !value.is_null());
    if is_set("conda") {
        return false;
    }
    let key = if is_set("uv") { "uv" } else { "pip" };
    let mut required = runtime_env.get(key).cloned().unwrap_or(Value::Null);
    let packages = match &mut required {
        Value::Object(options) => options
            .entry("packages")
            .or_insert_with(|| Value::Array(Vec::new())),
        other => other,
    };
    if let Value::String(file) = packages {
        let Ok(text) = fs::read_to_string(file) else {
            return false;
        };
        // As Ray reads it.
        *packages = text.lines().map(|line| line.trim().to_owned()).collect();
    }
    if packages.is_null() {
        *packages = Value::Array(Vec::new());
    }
    let Some(packages) = packages.as_array_mut() else {
        return false;
    };
    let is_ours = |package: &Value| {
        let name = package.as_str().unwrap_or("").replace('_', "-");
        name.to_ascii_lowercase().starts_with(DISTRIBUTION)
    };
    if !packages.iter().any(is_ours) {
        packages.push(format!("{DISTRIBUTION}=={}", env!("CARGO_PKG_VERSION")).into());
    }
    runtime_env.insert(key.to_owned(), required);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::process::Command;

    fn environment(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn some_launcher() -> (TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let launcher = directory.path().join(LAUNCHER);
        fs::copy("/bin/echo", &launcher).unwrap();
        (directory, launcher)
    }

    /// Runs the expression as Ray does, where neither launcher nor raylet exist.
    #[test]
    fn a_missing_launcher_is_survived() {
        let run = |launcher: &str, own: Option<&str>, environment: &[(&str, &str)]| {
            let executable = py_executable(Path::new(launcher), own).unwrap();
            let output = Command::new("bash")
                .args(["-c", &format!("exec {executable} -c 'print(1+1)'")])
                .env_remove("VIRTUAL_ENV")
                .env_remove("CONDA_PREFIX")
                .envs(environment.iter().copied())
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let none = "/nonexistent/roar-worker";
        assert_eq!(run(none, None, &[]), "2\n");
        assert_eq!(run("/nonexistent/it's a roar", None, &[]), "2\n");
        let gone = [("VIRTUAL_ENV", "/nonexistent")];
        assert_eq!(run(none, None, &gone), "2\n");
        assert_eq!(run("/bin/echo", None, &[]), "-- -c print(1+1)\n");
        assert_eq!(run(none, Some("python3 -u"), &[]), "2\n");
        assert_eq!(
            run("/bin/echo", Some("python3 \"$0\""), &[]),
            "-- python3 bash -c print(1+1)\n"
        );
        let (directory, _) = some_launcher();
        let module = directory.path().join(MODULE);
        fs::create_dir(&module).unwrap();
        fs::rename(directory.path().join(LAUNCHER), module.join(LAUNCHER)).unwrap();
        let path = format!("/nonexistent:{}", directory.path().display());
        let shipped = run("/bin/false", None, &[("PYTHONPATH", &path)]);
        assert_eq!(shipped, "-- -c print(1+1)\n");
    }

    #[test]
    fn a_module_is_added_to_the_jobs_own() {
        let (_directory, launcher) = some_launcher();
        for (own, kept) in [
            (json!({"py_modules": ["mine"]}), 1),
            (json!({"py_modules": null, "pip": ["six"]}), 0),
            (json!({}), 0),
        ] {
            let mut runtime_env = environment(own);
            let shipped = put(&mut runtime_env, None, &launcher).unwrap();
            let modules = runtime_env["py_modules"].as_array().unwrap();
            assert_eq!(modules.len(), kept + 1);
            let module = Path::new(modules[kept].as_str().unwrap());
            assert!(module.join(LAUNCHER).is_file());
            drop(shipped);
            assert!(!module.exists());
        }
        let mut bare = environment(json!({"a": 1}));
        put(&mut bare, None, Path::new("roar-worker")).unwrap();
        put(&mut bare, Some(Ship::Path), &launcher).unwrap();
        assert_eq!(bare, environment(json!({"a": 1})));
    }

    #[test]
    fn the_working_directory_is_left_as_it_is() {
        let (_directory, launcher) = some_launcher();
        let mine = tempfile::tempdir().unwrap();
        fs::write(mine.path().join("job.py"), "x").unwrap();
        let mut runtime_env = environment(json!({"working_dir": mine.path()}));
        let shipped = put(&mut runtime_env, Some(Ship::WorkingDir), &launcher).unwrap();
        assert_eq!(shipped.how, Some(Ship::WorkingDir));
        let staged = Path::new(runtime_env["working_dir"].as_str().unwrap());
        assert_eq!(fs::read_to_string(staged.join("job.py")).unwrap(), "x");
        assert!(staged.join(LAUNCHER).is_file());
        assert_eq!(fs::read_dir(mine.path()).unwrap().count(), 1);

        fs::create_dir(mine.path().join(".roar")).unwrap();
        for how in [Ship::WorkingDir, Ship::PyModules, Ship::Path] {
            let given = json!({"working_dir": mine.path(), "excludes": ["/a"]});
            let mut runtime_env = environment(given);
            let shipped = put(&mut runtime_env, Some(how), &launcher).unwrap();
            let staged = Path::new(runtime_env["working_dir"].as_str().unwrap());
            assert_eq!(fs::read_to_string(staged.join("job.py")).unwrap(), "x");
            assert!(!staged.join(".roar").exists());
            assert_eq!(runtime_env["excludes"], json!(["/a"]));
            drop(shipped);
            assert!(!staged.exists());
        }

        let mut remote = environment(json!({"working_dir": "s3://b/x.zip"}));
        let shipped = put(&mut remote, Some(Ship::WorkingDir), &launcher).unwrap();
        assert_eq!(shipped.how, Some(Ship::PyModules));
        assert_eq!(remote["working_dir"], "s3://b/x.zip");
    }

    #[test]
    fn a_requirement_is_added_once() {
        let ours = format!("roar-tracer=={}", env!("CARGO_PKG_VERSION"));
        let put_in = |value: Value| {
            let mut runtime_env = environment(value);
            put(&mut runtime_env, Some(Ship::Pip), Path::new("none")).unwrap();
            Value::Object(runtime_env)
        };
        assert_eq!(put_in(json!({})), json!({"pip": [ours]}));
        assert_eq!(
            put_in(json!({"pip": {"packages": ["six"], "pip_check": true}})),
            json!({"pip": {"packages": ["six", ours], "pip_check": true}})
        );
        assert_eq!(
            put_in(json!({"uv": ["roar_tracer"]})),
            json!({"uv": ["roar_tracer"]})
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "six\n requests \n").unwrap();
        assert_eq!(
            put_in(json!({"pip": file.path()})),
            json!({"pip": ["six", "requests", ours]})
        );
    }
}
