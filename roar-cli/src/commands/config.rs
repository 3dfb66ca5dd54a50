//! `roar config`: the project's settings, shown and changed.

use std::process::ExitCode;

use roar_lineage::document::Text;
use serde::Serialize;

use crate::cli::ConfigCommand;
use crate::config::{self, Kind, Setting};
use crate::error::UserError;
use crate::{output, project};

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    settings: Vec<Shown<'a>>,
}

#[derive(Serialize)]
struct Shown<'a> {
    key: String,
    value: serde_json::Value,
    default: serde_json::Value,
    source: String,
    about: &'a str,
}

#[derive(Serialize)]
struct Written {
    schema: &'static str,
    key: String,
    value: String,
    #[serde(flatten)]
    path: Text,
}

/// Does it.
pub fn main(command: &ConfigCommand) -> Result<ExitCode, UserError> {
    let place = project::Place::find(None)?;
    match command {
        ConfigCommand::List { json } => {
            let settings = config::load(place.directory.as_deref(), &place.root)?;
            show(&settings, *json)?;
        }
        ConfigCommand::Get { key, json } => {
            let key = config::key(key)?;
            let settings = config::load(place.directory.as_deref(), &place.root)?;
            let asked: Vec<Setting> = settings.into_iter().filter(|s| s.key == key).collect();
            match asked.first() {
                Some(setting) if !json => output::write(&format!("{}\n", setting.value))?,
                _ => show(&asked, true)?,
            }
        }
        ConfigCommand::Set { key, value, json } => {
            use std::os::unix::ffi::OsStrExt;
            let key = config::key(key)?;
            let checked = config::value(key, value)?;
            let directory = match place.directory {
                Some(directory) => directory,
                None => project::create(&place.root)?.0,
            };
            let path = config::set(&directory, key, checked)?;
            if *json {
                output::json(&Written {
                    schema: "roar.config.set/1",
                    key: format!("ray.{}", key.name),
                    value: value.clone(),
                    path: Text::new("path", path.as_os_str().as_bytes()),
                })?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(settings: &[Setting], as_json: bool) -> Result<(), UserError> {
    if as_json {
        let value = |setting: &Setting, text: &str| match setting.key.kind {
            Kind::Flag => (text == "true").into(),
            Kind::Word(_) | Kind::Place => text.into(),
        };
        let settings = settings.iter().map(|setting| Shown {
            key: format!("ray.{}", setting.key.name),
            value: value(setting, &setting.value),
            default: value(setting, setting.key.default),
            source: setting.source.to_string(),
            about: setting.key.about,
        });
        return output::json(&Document {
            schema: "roar.config/1",
            settings: settings.collect(),
        });
    }
    let mut text = String::new();
    for Setting { key, value, source } in settings {
        let name = format!("ray.{}", key.name);
        text.push_str(&format!("{name:<22} = {value:<10}  {source}\n"));
    }
    output::write(&text)
}
