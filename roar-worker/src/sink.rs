//! Where fragments are kept beside their node, so that they outlive it.
//!
//! A fragment file only grows, so any slice of it stays what it is: a sink is given
//! slices, and whoever puts the same slice once more, or one that overlaps, changes
//! nothing.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::PathBuf;

use roar_lineage::fragment;

/// Names the sink in a worker's environment (see [`Place`]).
pub const SINK_VARIABLE: &str = "ROAR_SINK";

/// How a place in S3 is told from a directory.
const SCHEME: &str = "s3://";

/// Keeps files that grow.
pub trait Sink: Send {
    /// Keeps a slice of a file from `offset` on (bytes), of which it has all that is
    /// before; how many of these bytes it has now. `AlreadyExists`: it has others.
    fn put(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<usize>;

    /// The files whose names begin with `prefix`; `progress` hears how many of how many
    /// pieces are there.
    fn fetch(&self, prefix: &str, progress: &mut dyn FnMut(usize, usize)) -> io::Result<Vec<Kept>>;
}

/// A file that a sink has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// All of it, or what is before the first piece that is missing.
    pub bytes: Vec<u8>,
    /// Whether no piece is missing.
    pub is_whole: bool,
}

/// Where a sink is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A directory, perhaps on a shared file system.
    Directory(PathBuf),
    /// `s3://bucket/prefix`.
    S3 {
        /// The bucket.
        bucket: String,
        /// What the names of the objects begin with: nothing, or ends with a slash.
        prefix: String,
    },
}

impl Place {
    /// Reads `s3://BUCKET[/PREFIX]`, or the path of a directory.
    pub fn parse(text: &OsStr) -> Result<Self, &'static str> {
        let Some(rest) = text.as_bytes().strip_prefix(SCHEME.as_bytes()) else {
            let is_other = text.as_bytes().windows(3).any(|part| part == b"://");
            return match is_other {
                true => Err("it is s3://BUCKET/PREFIX or a directory"),
                false => Ok(Self::Directory(text.into())),
            };
        };
        let rest = std::str::from_utf8(rest).map_err(|_| "a name in S3 is UTF-8")?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_usual = |letter: u8| letter.is_ascii_alphanumeric() || b".-_".contains(&letter);
        if bucket.is_empty() || !bucket.bytes().all(is_usual) {
            // It is not repeated: there may be credentials in it.
            return Err("a place in S3 is s3://BUCKET/PREFIX, without credentials");
        }
        let prefix = prefix.trim_matches('/');
        Ok(Self::S3 {
            bucket: bucket.to_owned(),
            prefix: match prefix {
                "" => String::new(),
                _ => format!("{prefix}/"),
            },
        })
    }

    /// The sink there. Nothing is asked of it yet.
    pub fn open(&self) -> io::Result<Box<dyn Sink>> {
        match self {
            Self::Directory(path) => Ok(Box::new(Directory(path.clone()))),
            #[cfg(feature = "s3")]
            Self::S3 { bucket, prefix } => Ok(Box::new(crate::s3::S3::new(bucket, prefix))),
            #[cfg(not(feature = "s3"))]
            Self::S3 { .. } => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this roar was built without S3",
            )),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(out, "{}", path.display()),
            Self::S3 { bucket, prefix } => write!(out, "{SCHEME}{bucket}/{prefix}"),
        }
    }
}

/// A directory.
pub struct Directory(pub PathBuf);

impl Sink for Directory {
    fn put(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.0)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(self.0.join(name))?;
        file.write_all_at(bytes, offset)?;
        Ok(bytes.len())
    }

    fn fetch(&self, prefix: &str, progress: &mut dyn FnMut(usize, usize)) -> io::Result<Vec<Kept>> {
        let entries = match std::fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name().into_string().unwrap_or_default();
            if name.starts_with(prefix) && name.ends_with(fragment::EXTENSION) {
                names.push(name);
            }
        }
        let mut kept = Vec::new();
        let count = names.len();
        for name in names {
            let bytes = std::fs::read(self.0.join(&name))?;
            kept.push(Kept {
                name,
                bytes,
                is_whole: true,
            });
            progress(kept.len(), count);
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_directory_or_in_s3() {
        let place = |text: &str| Place::parse(OsStr::new(text)).map(|place| place.to_string());
        for (text, shown) in [
            ("/shared/roar", "/shared/roar"),
            ("s3://bucket", "s3://bucket/"),
            ("s3://bucket/", "s3://bucket/"),
            ("s3://bucket/a/b", "s3://bucket/a/b/"),
            ("s3://bucket/a/b/", "s3://bucket/a/b/"),
        ] {
            assert_eq!(place(text).unwrap(), shown);
        }
        for text in [
            "s3://",
            "s3:///a",
            "s3://key:secret@bucket/a",
            "gs://b/secret",
        ] {
            assert!(!place(text).unwrap_err().contains("secret"));
        }
    }

    #[test]
    fn slices_that_overlap_are_one_file() {
        let directory = tempfile::tempdir().unwrap();
        let sink = Directory(directory.path().join("sink"));
        let none = &mut |_, _| {};
        assert_eq!(sink.fetch("a", none).unwrap(), []);
        for (offset, bytes) in [(0, &b"one t"[..]), (3, b" two"), (0, b"one t")] {
            assert_eq!(sink.put("a.roarfrag", offset, bytes).unwrap(), bytes.len());
        }
        let kept = sink.fetch("a", none).unwrap();
        assert_eq!((&kept[0].bytes[..], kept.len()), (&b"one two"[..], 1));
        assert_eq!(sink.fetch("b", none).unwrap(), []);
    }
}
