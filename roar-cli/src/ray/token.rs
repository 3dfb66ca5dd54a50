//! The token that a cluster may ask for (Ray 2.55 and later), from where Ray itself takes
//! it: `RAY_AUTH_TOKEN`, the file that `RAY_AUTH_TOKEN_PATH` names, `~/.ray/auth_token`.

use std::ffi::OsString;
use std::path::PathBuf;

/// The token; none with `RAY_AUTH_MODE=disabled`. `variable` looks up the environment.
pub fn find(variable: impl Fn(&str) -> Option<OsString>) -> Option<String> {
    let text = |name| variable(name)?.into_string().ok();
    if text("RAY_AUTH_MODE").is_some_and(|mode| mode.eq_ignore_ascii_case("disabled")) {
        return None;
    }
    let cleaned = |token: String| Some(token.trim().to_owned()).filter(|token| !token.is_empty());
    if let Some(token) = text("RAY_AUTH_TOKEN").and_then(cleaned) {
        return Some(token);
    }
    let named = variable("RAY_AUTH_TOKEN_PATH").map(PathBuf::from);
    let usual = || Some(PathBuf::from(variable("HOME")?).join(".ray/auth_token"));
    std::fs::read_to_string(named.or_else(usual)?)
        .ok()
        .and_then(cleaned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_found_where_ray_looks() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".ray")).unwrap();
        std::fs::write(home.path().join(".ray/auth_token"), "from-home\n").unwrap();
        std::fs::write(home.path().join("other"), "from-path").unwrap();
        let with = |set: &[(&str, &str)]| {
            let set: Vec<(String, OsString)> = set
                .iter()
                .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
                .chain([("HOME".to_owned(), home.path().as_os_str().to_owned())])
                .collect();
            find(|name| {
                let found = set.iter().find(|(set, _)| set == name);
                found.map(|(_, value)| value.clone())
            })
        };
        assert_eq!(with(&[]).unwrap(), "from-home");
        let other = home.path().join("other");
        let path = ("RAY_AUTH_TOKEN_PATH", other.to_str().unwrap());
        assert_eq!(with(&[path]).unwrap(), "from-path");
        assert_eq!(with(&[path, ("RAY_AUTH_TOKEN", " t ")]).unwrap(), "t");
        assert_eq!(with(&[("RAY_AUTH_MODE", "disabled")]), None);
    }
}
