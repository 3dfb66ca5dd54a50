//! Enumerations as text in the store: the names of the JSON documents.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::Role;
use crate::model::{Category, FileState, How};

/// An enumeration whose values have names.
pub(super) trait Named: Copy {
    fn name(self) -> &'static str;
    fn of(name: &str) -> Option<Self>;
}

macro_rules! named {
    ($kind:ident { $($value:ident = $name:literal),* $(,)? }) => {
        impl Named for $kind {
            fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $name),*
                }
            }

            fn of(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$value),)*
                    _ => None,
                }
            }
        }

        #[cfg(test)]
        impl $kind {
            const NAMED: &[Self] = &[$(Self::$value),*];
        }
    };
}

named!(Role {
    Read = "read",
    Write = "write",
    Delete = "delete",
    Ephemeral = "ephemeral",
});
named!(FileState {
    Exact = "exact",
    Superseded = "superseded",
    Missing = "missing",
    Unreadable = "unreadable",
    Skipped = "skipped",
});
named!(Category {
    Runtime = "runtime",
    Package = "package",
    Code = "code",
    Data = "data",
    System = "system",
    Temp = "temp",
});
named!(How {
    Open = "open",
    Append = "append",
    Modify = "modify",
    Truncate = "truncate",
    Rename = "rename",
    Link = "link",
    Exec = "exec",
    Import = "import",
    Inherited = "inherited",
    Get = "get",
    Put = "put",
    Copy = "copy",
    Multipart = "multipart",
});

/// The names of `how`, with commas between them.
pub(super) fn names_of(how: &BTreeSet<How>) -> Cow<'static, str> {
    let mut names = how.iter().map(|one| one.name());
    match (names.next(), names.len()) {
        (None, _) => Cow::Borrowed(""),
        (Some(only), 0) => Cow::Borrowed(only),
        (Some(first), _) => Cow::Owned(names.fold(first.to_owned(), |all, name| all + "," + name)),
    }
}

pub(super) fn of_names(names: &str) -> BTreeSet<How> {
    names.split(',').filter_map(How::of).collect()
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use serde::Serialize;

    use super::*;

    fn assert_documented<T: Named + Serialize + PartialEq + Debug>(values: &[T]) {
        for &value in values {
            assert_eq!(serde_json::to_value(value).unwrap(), value.name());
            assert_eq!(T::of(value.name()), Some(value));
        }
    }

    #[test]
    fn names_are_those_of_the_documents() {
        assert_documented(Role::NAMED);
        assert_documented(FileState::NAMED);
        assert_documented(Category::NAMED);
        assert_documented(How::NAMED);
    }
}
