//! Strings of the system in JSON: bytes that need not be UTF-8.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bstr::{BStr, BString, ByteSlice};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// A key whose value comes from the system. Flattened into its object it is `key` with
/// U+FFFD for what is not UTF-8, and then `key_b64` beside it with the exact bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Text {
    key: &'static str,
    value: Value,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Value {
    Null,
    One(BString),
    List(Vec<BString>),
}

impl Text {
    /// One string.
    pub fn new(key: &'static str, bytes: &[u8]) -> Self {
        let value = Value::One(bytes.into());
        Self { key, value }
    }

    /// One string, or null.
    pub fn or_null(key: &'static str, bytes: Option<&BString>) -> Self {
        let value = bytes.map_or(Value::Null, |bytes| Value::One(bytes.clone()));
        Self { key, value }
    }

    /// A list of strings; its `_b64` is a list too, if any is not UTF-8.
    pub fn list(key: &'static str, items: &[BString]) -> Self {
        let value = Value::List(items.to_vec());
        Self { key, value }
    }

    /// The bytes of a single string; empty otherwise.
    pub fn bytes(&self) -> &BStr {
        match &self.value {
            Value::One(bytes) => bytes.as_bstr(),
            Value::Null | Value::List(_) => BStr::new(""),
        }
    }

    /// The strings of a list; none otherwise.
    pub fn items(&self) -> &[BString] {
        match &self.value {
            Value::List(items) => items,
            Value::Null | Value::One(_) => &[],
        }
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.value {
            Value::Null => map.serialize_entry(self.key, &())?,
            Value::One(bytes) => {
                map.serialize_entry(self.key, &bytes.to_str_lossy())?;
                if bytes.to_str().is_err() {
                    map.serialize_entry(&self.exact_key(), &STANDARD.encode(bytes))?;
                }
            }
            Value::List(items) => {
                let lossy: Vec<_> = items.iter().map(|item| item.to_str_lossy()).collect();
                map.serialize_entry(self.key, &lossy)?;
                if items.iter().any(|item| item.to_str().is_err()) {
                    let exact: Vec<_> = items.iter().map(|item| STANDARD.encode(item)).collect();
                    map.serialize_entry(&self.exact_key(), &exact)?;
                }
            }
        }
        map.end()
    }
}

impl Text {
    fn exact_key(&self) -> String {
        format!("{}_b64", self.key)
    }
}
