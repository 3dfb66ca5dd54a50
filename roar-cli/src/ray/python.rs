//! What only Ray's own Python can tell: a YAML file as Ray reads it, and where `auto` is.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

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
