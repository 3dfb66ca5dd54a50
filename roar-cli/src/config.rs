//! Settings: `[ray]` of the project's `.roar/config.toml`, else of its `roar.toml`.
//!
//! A variable of the environment wins over both files. Other sections are somebody
//! else's and are left alone; what is wrong in this one is an error that names the file,
//! the key and the reason.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use roar_worker::sink::Place;
use toml_edit::{DocumentMut, TomlError, Value};

use crate::error::UserError;

/// The project's own settings, within `.roar`.
pub const PRIVATE: &str = "config.toml";
/// Settings that may be kept under version control, at the project's root.
pub const SHARED: &str = "roar.toml";
/// The section of both.
const SECTION: &str = "ray";

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A directory, or `s3://BUCKET/PREFIX`.
    Place,
}

/// One setting.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name in the section.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// What it is when nothing is said.
    pub default: &'static str,
    /// The variable that wins over the files.
    pub variable: Option<&'static str>,
    /// What it does.
    pub about: &'static str,
}

/// All settings.
pub const KEYS: &[Key] = &[
    Key {
        name: "enabled",
        kind: Kind::Flag,
        default: "true",
        variable: Some("ROAR_WRAP"),
        about: "tell the tasks of Ray apart; false: Ray is a command like any other",
    },
    Key {
        name: "actor_attribution",
        kind: Kind::Word(&["per_call", "per_actor"]),
        default: "per_call",
        variable: None,
        about: "a node of the graph for each call of an actor, or one for each actor",
    },
    Key {
        name: "ship",
        kind: Kind::Word(&["auto", "working_dir", "py_modules", "pip", "path"]),
        default: "auto",
        variable: Some("ROAR_SHIP"),
        about: "how roar-worker gets to the nodes of a cluster",
    },
    Key {
        name: "pip_install",
        kind: Kind::Flag,
        default: "false",
        variable: None,
        about: "true: ship = \"pip\", unless ship is set",
    },
    Key {
        name: "collect",
        kind: Kind::Flag,
        default: "true",
        variable: None,
        about: "bring a job's record home when it has ended; false: `roar ray fetch` does",
    },
    Key {
        name: "sink",
        kind: Kind::Place,
        default: "",
        variable: Some("ROAR_SINK"),
        about: "where records are kept too: s3://BUCKET/PREFIX, or a directory that all nodes share",
    },
];

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nothing was said.
    Default,
    /// This file.
    File(PathBuf),
    /// This variable.
    Variable(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File(path) => write!(out, "{}", path.display()),
            Self::Variable(name) => write!(out, "${name}"),
        }
    }
}

/// A setting with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Which one.
    pub key: &'static Key,
    /// Its value, as it is written (without quotes).
    pub value: String,
    /// Who says so.
    pub source: Source,
}

/// How `roar-worker` gets to the nodes of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ship {
    /// In the job's `working_dir`.
    WorkingDir,
    /// As one of the job's `py_modules`.
    PyModules,
    /// As one of its `pip` requirements.
    Pip,
    /// Not at all: it is at the same path there as here, or on the `PATH`.
    Path,
}

/// What the settings say about Ray.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ray {
    /// Whether tasks are told apart.
    pub enabled: bool,
    /// Whether all calls of an actor are one node.
    pub per_actor: bool,
    /// `None`: as it suits the job.
    pub ship: Option<Ship>,
    /// Whether a job's record is brought home when it has ended.
    pub collect: bool,
    /// Where records are kept too.
    pub sink: Option<Place>,
}

/// The settings of a project, of which `directory` is the `.roar` (if it has one) and
/// `root` the root.
pub fn load(directory: Option<&Path>, root: &Path) -> Result<Vec<Setting>, UserError> {
    load_readable(directory, root, Err)
}

/// The same, without a file that cannot be read where `unreadable` puts up with that.
pub fn load_readable(
    directory: Option<&Path>,
    root: &Path,
    mut unreadable: impl FnMut(UserError) -> Result<(), UserError>,
) -> Result<Vec<Setting>, UserError> {
    let private = directory.map(|directory| directory.join(PRIVATE));
    let mut files: Vec<(PathBuf, DocumentMut)> = Vec::new();
    for path in private.into_iter().chain([root.join(SHARED)]) {
        match read(&path) {
            Ok(Some(text)) => {
                let document = parse(&path, &text)?;
                check_names(&path, &document)?;
                files.push((path, document));
            }
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                unreadable(cannot_use(&path, error))?;
            }
            Err(error) => return Err(cannot_use(&path, error)),
        }
    }
    KEYS.iter()
        .map(|key| {
            if let Some(setting) = from_environment(key)? {
                return Ok(setting);
            }
            for (path, document) in &files {
                let Some(item) = document.get(SECTION).and_then(|table| table.get(key.name)) else {
                    continue;
                };
                let value = item
                    .as_value()
                    .ok_or_else(|| "it is a table".to_owned())
                    .and_then(|value| key.of_toml(value))
                    .map_err(|why| bad(path, key, &why))?;
                let source = Source::File(path.clone());
                return Ok(Setting { key, value, source });
            }
            let (value, source) = (key.default.to_owned(), Source::Default);
            Ok(Setting { key, value, source })
        })
        .collect()
}

/// What settings say about Ray; a relative `sink` is beneath `root`.
pub fn ray(settings: &[Setting], root: &Path) -> Ray {
    let find = |name: &str| settings.iter().find(|setting| setting.key.name == name);
    let value = |name: &str| find(name).map_or("", |setting| setting.value.as_str());
    let flag = |name: &str| value(name) == "true";
    let ship = match value("ship") {
        "working_dir" => Some(Ship::WorkingDir),
        "py_modules" => Some(Ship::PyModules),
        "pip" => Some(Ship::Pip),
        "path" => Some(Ship::Path),
        _ if flag("pip_install") => Some(Ship::Pip),
        _ => None,
    };
    let sink = Some(value("sink")).filter(|sink| !sink.is_empty());
    let sink = sink.and_then(|sink| Place::parse(sink.as_ref()).ok());
    Ray {
        enabled: flag("enabled"),
        per_actor: value("actor_attribution") == "per_actor",
        ship,
        collect: flag("collect"),
        sink: sink.map(|sink| match sink {
            Place::Directory(path) => Place::Directory(root.join(path)),
            in_s3 => in_s3,
        }),
    }
}

/// A setting by its name, `ray.` and all.
pub fn key(name: &str) -> Result<&'static Key, UserError> {
    let known = |key: &&Key| name.strip_prefix("ray.") == Some(key.name);
    KEYS.iter().find(known).ok_or_else(|| {
        UserError::new(format!("there is no setting {name}"), "unknown key")
            .hint("`roar config list` shows them all")
    })
}

/// What a setting is to be, if it can be that.
pub fn value(key: &Key, text: &str) -> Result<String, UserError> {
    key.of_text(text)
        .map_err(|why| UserError::new(format!("cannot set ray.{}", key.name), why))
}

/// Writes a setting into `directory`'s own file; what else is in it stays as it was.
pub fn set(directory: &Path, key: &Key, value: String) -> Result<PathBuf, UserError> {
    let path = directory.join(PRIVATE);
    let text = read(&path)
        .map_err(|error| cannot_use(&path, error))?
        .unwrap_or_default();
    let mut document = parse(&path, &text)?;
    let table = document
        .entry(SECTION)
        .or_insert_with(toml_edit::table)
        .as_table_like_mut()
        .ok_or_else(|| cannot_use(&path, "ray is no table"))?;
    let written: Value = match key.kind {
        Kind::Flag => (value == "true").into(),
        Kind::Word(_) | Kind::Place => value.into(),
    };
    match table.get_mut(key.name).and_then(|item| item.as_value_mut()) {
        Some(old) => {
            let decor = old.decor().clone();
            *old = written;
            *old.decor_mut() = decor;
        }
        None => {
            table.insert(key.name, toml_edit::value(written));
        }
    }
    let cannot =
        |error: std::io::Error| UserError::new(format!("cannot write {}", path.display()), error);
    let draft = directory.join(format!(".{PRIVATE}.{}", std::process::id()));
    let written = fs::write(&draft, document.to_string()).and_then(|()| fs::rename(&draft, &path));
    written.map_err(|error| {
        let _ = fs::remove_file(&draft);
        cannot(error)
    })?;
    Ok(path)
}

/// The beginning of a project: every setting, commented out.
pub fn template() -> String {
    let mut text = String::from(
        "# Settings of roar for this project; roar.toml at its root may hold the same, and\n\
         # this file wins. Every line is optional; these are the defaults.\n\n[ray]\n",
    );
    for key in KEYS {
        let value = match key.kind {
            Kind::Flag => key.default.to_owned(),
            Kind::Word(_) | Kind::Place => format!("\"{}\"", key.default),
        };
        text.push_str(&format!("# {}\n", key.about));
        if let Kind::Word(words) = key.kind {
            text.push_str(&format!("# ({})\n", words.join(", ")));
        }
        text.push_str(&format!("# {} = {value}\n", key.name));
    }
    text
}

impl Key {
    fn of_toml(&self, value: &Value) -> Result<String, String> {
        match (self.kind, value) {
            (Kind::Flag, Value::Boolean(flag)) => Ok(flag.value().to_string()),
            (Kind::Flag, _) => Err("it is true or false, without quotes".to_owned()),
            (_, Value::String(text)) => self.of_text(text.value()),
            _ => Err("it is a string".to_owned()),
        }
    }

    fn of_text(&self, text: &str) -> Result<String, String> {
        match self.kind {
            Kind::Flag => match text {
                "true" | "1" => Ok("true".to_owned()),
                "false" | "0" => Ok("false".to_owned()),
                _ => Err(format!("it is true or false, not {text:?}")),
            },
            Kind::Word(words) if !words.contains(&text) => {
                Err(format!("it is one of {}, not {text:?}", words.join(", ")))
            }
            Kind::Place => Place::parse(text.as_ref())
                .map(|_| text.to_owned())
                .map_err(str::to_owned),
            Kind::Word(_) => Ok(text.to_owned()),
        }
    }
}

fn from_environment(key: &'static Key) -> Result<Option<Setting>, UserError> {
    let Some(name) = key.variable else {
        return Ok(None);
    };
    let Some(text) = std::env::var_os(name).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let value = key
        .of_text(&text.to_string_lossy())
        .map_err(|why| UserError::new(format!("cannot use ${name}"), why))?;
    let source = Source::Variable(name);
    Ok(Some(Setting { key, value, source }))
}

fn bad(path: &Path, key: &Key, why: &str) -> UserError {
    cannot_use(path, format!("{SECTION}.{}: {why}", key.name))
}

/// `None`: it is not there.
fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse(path: &Path, text: &str) -> Result<DocumentMut, UserError> {
    text.parse()
        .map_err(|error: TomlError| cannot_use(path, syntax(text, &error)))
}

fn cannot_use(path: &Path, why: impl ToString) -> UserError {
    UserError::new(format!("cannot use {}", path.display()), why)
}

fn syntax(text: &str, error: &TomlError) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    match before {
        Some(before) => format!(
            "line {}: {}",
            before.matches('\n').count() + 1,
            error.message()
        ),
        None => error.message().to_owned(),
    }
}

fn check_names(path: &Path, document: &DocumentMut) -> Result<(), UserError> {
    let Some(section) = document.get(SECTION) else {
        return Ok(());
    };
    let table = section
        .as_table_like()
        .ok_or_else(|| cannot_use(path, format!("{SECTION} is no table")))?;
    let unknown = |name: &str| !KEYS.iter().any(|key| key.name == name);
    match table.iter().find(|(name, _)| unknown(name)) {
        Some((name, _)) => Err(cannot_use(path, format!("{SECTION}.{name}: unknown key"))
            .hint("`roar config list` shows all keys")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(private: &str, shared: &str) -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join(".roar");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join(PRIVATE), private).unwrap();
        fs::write(root.path().join(SHARED), shared).unwrap();
        (root, directory)
    }

    fn loaded(private: &str, shared: &str) -> Result<Ray, UserError> {
        let (root, directory) = project(private, shared);
        load(Some(&directory), root.path()).map(|settings| ray(&settings, Path::new("/p")))
    }

    #[test]
    fn the_template_is_the_defaults() {
        let nothing = loaded("", "").unwrap();
        assert_eq!(loaded(&template(), "").unwrap(), nothing);
        assert!(nothing.enabled && nothing.collect && !nothing.per_actor);
        assert_eq!((nothing.ship, nothing.sink), (None, None));
        let open = template().replace("# ", "");
        for key in KEYS {
            assert!(open.contains(&format!("\n{} = ", key.name)), "{open}");
        }
    }

    #[test]
    fn the_projects_own_file_wins_key_by_key() {
        let shared = "[other]\nx = 1\n[ray]\nship = \"path\"\nsink = \"shared\"\n";
        let ray = loaded("[ray]\nship = \"py_modules\"\n", shared).unwrap();
        assert_eq!(ray.ship, Some(Ship::PyModules));
        assert_eq!(ray.sink, Some(Place::Directory("/p/shared".into())));
        let sink = loaded("ray.sink = \"s3://bucket/a\"", "").unwrap().sink;
        assert_eq!(sink.unwrap().to_string(), "s3://bucket/a/");
    }

    #[test]
    fn pip_install_is_a_way_to_ship() {
        assert_eq!(
            loaded("ray.pip_install = true", "").unwrap().ship,
            Some(Ship::Pip)
        );
        let both = loaded("ray = {pip_install = true, ship = \"path\"}", "").unwrap();
        assert_eq!(both.ship, Some(Ship::Path));
    }

    #[test]
    fn what_is_wrong_names_the_file_the_key_and_the_reason() {
        for (text, why) in [
            ("[ray]\nshop = 1", "ray.shop: unknown key"),
            ("[ray]\nship = \"boat\"", "ray.ship: it is one of auto"),
            (
                "[ray]\nenabled = \"true\"",
                "ray.enabled: it is true or false",
            ),
            ("[ray]\nsink = [1]", "ray.sink: it is a string"),
            (
                "[ray]\nsink = \"s3://k:s@b\"",
                "ray.sink: a place in S3 is s3://",
            ),
            ("[ray.ship]\nx = 1", "ray.ship: it is a table"),
            ("ray = 1", "ray is no table"),
            ("[ray]\n\nship = ", "line 3: "),
        ] {
            let error = loaded(text, "").unwrap_err();
            assert!(error.what.ends_with(".roar/config.toml"), "{error:?}");
            assert!(error.why.contains(why), "{error:?}");
            assert!(loaded("", text).unwrap_err().what.ends_with("/roar.toml"));
        }
    }

    #[test]
    fn setting_one_keeps_the_rest() {
        let (root, directory) = project("# mine\n[ray]\nship = \"path\" # why\n", "");
        for (name, text) in [("ray.ship", "pip"), ("ray.enabled", "0")] {
            let key = key(name).unwrap();
            set(&directory, key, value(key, text).unwrap()).unwrap();
        }
        let text = fs::read_to_string(directory.join(PRIVATE)).unwrap();
        assert_eq!(
            text,
            "# mine\n[ray]\nship = \"pip\" # why\nenabled = false\n"
        );
        assert!(value(key("ray.ship").unwrap(), "boat").is_err());
        assert!(key("ship").is_err());
        let source = &load(Some(&directory), root.path()).unwrap()[0].source;
        assert_eq!(source, &Source::File(directory.join(PRIVATE)));
    }
}
