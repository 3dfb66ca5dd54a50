//! Enumerations as text in the store: the names of the JSON documents.

use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::model::How;

pub(super) fn name_of<T: Serialize>(value: T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        _ => String::new(),
    }
}

pub(super) fn of_name<T: DeserializeOwned>(name: &str) -> Option<T> {
    serde_json::from_value(Value::String(name.to_owned())).ok()
}

pub(super) fn names_of(how: &BTreeSet<How>) -> String {
    let names: Vec<String> = how.iter().map(name_of).collect();
    names.join(",")
}

pub(super) fn of_names(names: &str) -> BTreeSet<How> {
    names.split(',').filter_map(of_name).collect()
}
