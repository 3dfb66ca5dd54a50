//! Lists of files for people: a directory that is one artifact is one line.

use std::collections::HashMap;
use std::path::Path;

use crate::output;

/// Fewer files of a directory are named one by one.
const COLLAPSED: usize = 3;

/// One line: a file, or a directory with several.
pub struct Line<'a, T> {
    path: &'a [u8],
    /// The file, or the directory's files.
    pub files: Vec<(&'a [u8], T)>,
    is_directory: bool,
}

/// The lines for `files`; `directory` tells in which artifact a file is.
pub fn lines<'a, T>(
    files: impl IntoIterator<Item = (&'a [u8], T)>,
    directory: impl Fn(&'a [u8]) -> Option<&'a [u8]>,
) -> Vec<Line<'a, T>> {
    let mut lines: Vec<Line<'a, T>> = Vec::new();
    let mut known: HashMap<&[u8], usize> = HashMap::new();
    for (path, file) in files {
        let around = directory(path);
        let next = lines.len();
        let at = around.map_or(next, |around| *known.entry(around).or_insert(next));
        if at == next {
            lines.push(Line {
                path: around.unwrap_or(path),
                files: Vec::new(),
                is_directory: around.is_some(),
            });
        }
        lines[at].files.push((path, file));
    }
    lines.into_iter().flat_map(Line::named).collect()
}

impl<'a, T> Line<'a, T> {
    /// The line itself, or one for each file where these are few.
    fn named(self) -> Vec<Self> {
        if !self.is_directory || self.files.len() >= COLLAPSED {
            return vec![self];
        }
        let one = |(path, file)| Self {
            path,
            files: vec![(path, file)],
            is_directory: false,
        };
        self.files.into_iter().map(one).collect()
    }

    /// The directory, where it is one.
    pub fn directory(&self) -> Option<&'a [u8]> {
        self.is_directory.then_some(self.path)
    }

    /// `data/x.csv` or `dataset/ (25 files)` in at most `width` characters.
    pub fn name(&self, root: &Path, width: usize) -> String {
        let count = match self.is_directory {
            true => format!(" ({} files)", self.files.len()),
            false => String::new(),
        };
        let room = width.saturating_sub(count.chars().count());
        let path = output::shown_path(self.path, Some(root));
        output::cut(&path, room) + &count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_files_of_a_directory_are_one_line_and_few_are_named() {
        let files = ["/p/a", "/p/d/1", "/p/d/2", "/p/d/3", "/p/e/1", "/p/e/2"];
        let files = files.map(|file| (file.as_bytes(), ()));
        let directory = |path: &'static [u8]| match path.get(..5) {
            Some(around @ (b"/p/d/" | b"/p/e/")) => Some(around),
            _ => None,
        };
        let lines = lines(files, directory);
        let name = |line: &Line<'_, ()>| line.name(Path::new("/p"), 20);
        let names: Vec<String> = lines.iter().map(name).collect();
        assert_eq!(names, ["a", "d/ (3 files)", "e/1", "e/2"]);
    }
}
