//! Where a file belongs: a pure function of its path, the project's root, and the
//! virtual environments seen so far.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use bstr::{BString, ByteSlice, Finder};

use crate::model::Category;

/// Directories anywhere in a path that mark caches and run-time state.
fn is_runtime(component: &[u8], next: &[u8]) -> bool {
    match component {
        b"__pycache__" | b".roar" => true,
        b".cache" => matches!(
            next,
            b"roar"
                | b"pip"
                | b"uv"
                | b"matplotlib"
                | b"fontconfig"
                | b"numba"
                | b"mesa_shader_cache"
                | b"ccache"
        ),
        b".triton" => next == b"cache",
        b".nv" => next == b"ComputeCache",
        b"ray" => next.starts_with(b"session_"),
        [b's', ..] => is_ray_session(component),
        [b't', ..] => component.starts_with(b"torchinductor_"),
        [b'r', ..] => component.starts_with(b"roar-shim-") || is_spilled(component),
        [b'h', ..] => component.starts_with(b"hsperfdata_"),
        _ => false,
    }
}

/// The directory of one run of Ray, wherever its temporary directory is:
/// `session_2026-01-31_12-00-00_123456_4711` (ray/_private/node.py).
fn is_ray_session(name: &[u8]) -> bool {
    const BEGINS: &[u8] = b"session_0000-00-00_00-00-00_000000_";
    let Some((begin, pid)) = name.split_at_checked(BEGINS.len()) else {
        return false;
    };
    let is_like = |(byte, like): (&u8, &u8)| match like {
        b'0' => byte.is_ascii_digit(),
        _ => byte == like,
    };
    begin.iter().zip(BEGINS).all(is_like) && !pid.is_empty() && pid.iter().all(u8::is_ascii_digit)
}

/// The directory of objects that Ray has spilled, of one node or, in older releases, of all.
fn is_spilled(name: &[u8]) -> bool {
    let rest = name.strip_prefix(b"ray_spilled_objects");
    rest.is_some_and(|node| match node.strip_prefix(b"_") {
        Some(node) => !node.is_empty() && node.iter().all(u8::is_ascii_hexdigit),
        None => node.is_empty(),
    })
}

/// Directories anywhere in a path that mark installed distributions.
fn is_package(component: &[u8]) -> bool {
    matches!(
        component,
        b"site-packages" | b"dist-packages" | b"node_modules"
    )
}

/// Directories anywhere in a path that mark tool chains, and the standard library of an
/// interpreter, wherever they are installed.
fn is_toolchain(component: &[u8], next: &[u8]) -> bool {
    match component {
        b".pyenv" | b".rustup" | b".cargo" | b".nvm" | b".rbenv" | b"miniconda3" | b"anaconda3"
        | b"miniforge3" => true,
        b"share" => next == b"uv",
        b"lib" | b"lib64" => next.starts_with(b"python3."),
        _ => false,
    }
}

/// Directories of the system.
fn is_system(path: &[u8]) -> bool {
    let Some((first, rest)) = first_directory(path) else {
        return false;
    };
    match first {
        b"usr" | b"lib" | b"lib32" | b"lib64" | b"libx32" | b"bin" | b"sbin" | b"etc" | b"opt"
        | b"snap" | b"nix" | b"gnu" | b"boot" | b"run" => true,
        b"var" => [&b"cache/"[..], b"lib/apt/", b"lib/dpkg/", b"run/"]
            .iter()
            .any(|below| rest.starts_with(below)),
        _ => false,
    }
}

fn is_temporary(path: &[u8]) -> bool {
    match first_directory(path) {
        Some((first, rest)) => first == b"tmp" || first == b"var" && rest.starts_with(b"tmp/"),
        None => false,
    }
}

/// The first directory of an absolute path, and what is below it.
fn first_directory(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let path = path.strip_prefix(b"/")?;
    let end = path.find_byte(b'/')?;
    Some((&path[..end], &path[end + 1..]))
}

/// Decides categories for one project.
#[derive(Clone, Debug, Default)]
pub struct Classifier {
    root: BString,
    venvs: BTreeSet<BString>,
}

impl Classifier {
    /// For the project below `root` (absolute). `/` is nobody's project: with it nothing
    /// counts as beneath the root.
    pub fn new(root: &[u8]) -> Self {
        Self {
            root: with_slash(root),
            venvs: BTreeSet::new(),
        }
    }

    /// Learns from a path that was read: a `pyvenv.cfg` marks its directory as a virtual
    /// environment (PEP 405).
    pub fn learn(&mut self, path: &[u8]) {
        if let Some(venv) = path.strip_suffix(b"pyvenv.cfg")
            && venv.ends_with(b"/")
        {
            self.venvs.insert(venv.into());
        }
    }

    /// The category of `path`; `executed` when it was executed or imported.
    pub fn category(&self, path: &[u8], executed: bool) -> Category {
        let path = own_part(path);
        let marks = Marks::of(path);
        let is_own = executed && (path.ends_with(b"/roar-worker") || path.ends_with(b"/roar"));
        let is_cache = marks.runtime || path.ends_with(b".nbi");
        if is_own || is_cache && !marks.working_dir {
            return Category::Runtime;
        }
        if marks.package || self.venvs.iter().any(|venv| path.starts_with(venv)) {
            return Category::Package;
        }
        if marks.toolchain {
            return Category::System;
        }
        let beneath_root = self.root.len() > 1 && path.starts_with(&self.root);
        if beneath_root || marks.working_dir {
            return if executed || is_code(path) {
                Category::Code
            } else {
                Category::Data
            };
        }
        let is_tool = executed && marks.bin;
        if is_system(path) || is_tool || is_shared_library(path) {
            return Category::System;
        }
        if is_temporary(path) {
            return Category::Temp;
        }
        Category::Data
    }
}

fn with_slash(directory: &[u8]) -> BString {
    let mut directory = BString::from(directory);
    if !directory.ends_with(b"/") {
        directory.push(b'/');
    }
    directory
}

/// What the directories of a path say about it.
#[derive(Default)]
struct Marks {
    runtime: bool,
    package: bool,
    toolchain: bool,
    bin: bool,
    /// Where Ray unpacks a job's working directory: the user's files, though below a
    /// session.
    working_dir: bool,
}

impl Marks {
    fn of(path: &[u8]) -> Self {
        let mut marks = Self::default();
        let mut components = path.split(|byte| *byte == b'/').peekable();
        // The last component is the file itself.
        while let Some(component) = components.next()
            && let Some(next) = components.peek()
        {
            marks.runtime |= is_runtime(component, next);
            marks.package |= is_package(component);
            marks.toolchain |= is_toolchain(component, next);
            marks.bin |= component == b"bin";
            marks.working_dir |= component == b"runtime_resources" && *next == b"working_dir_files";
        }
        marks
    }
}

/// Files that are programs in themselves.
fn is_code(path: &[u8]) -> bool {
    let start = path.rfind_byte(b'/').map_or(0, |slash| slash + 1);
    let name = &path[start..];
    match name.rfind_byte(b'.').map_or(&b""[..], |dot| &name[dot..]) {
        b".py" | b".pyx" | b".pyi" | b".ipynb" | b".sh" | b".bash" | b".zsh" | b".fish" => true,
        b".pl" | b".pm" | b".rb" | b".js" | b".mjs" | b".cjs" | b".ts" | b".lua" => true,
        b".r" | b".R" | b".jl" | b".php" | b".tcl" | b".awk" | b".sed" | b".sql" => true,
        b".mk" | b".cmake" | b".c" | b".h" | b".cc" | b".cpp" | b".cxx" | b".hpp" => true,
        b".rs" | b".go" | b".java" | b".scala" | b".jar" | b".so" => true,
        _ => matches!(
            name,
            b"Makefile" | b"makefile" | b"GNUmakefile" | b"Dockerfile" | b"Rakefile"
        ),
    }
}

fn is_shared_library(path: &[u8]) -> bool {
    static VERSIONED: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b".so."));
    path.ends_with(b".so") || VERSIONED.find(path).is_some()
}

/// What the paths begin with that only another mount namespace has: `/mnt:[ID]/path`.
pub const FOREIGN: &[u8] = b"/mnt:[";

/// The path within its namespace.
fn own_part(path: &[u8]) -> &[u8] {
    let rest = path.strip_prefix(FOREIGN);
    let end = rest.and_then(|rest| rest.iter().position(|byte| *byte == b'/'));
    rest.zip(end)
        .and_then(|(rest, end)| rest.get(end..))
        .unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Category::*;

    #[test]
    fn the_first_category_that_fits() {
        let mut classifier = Classifier::new(b"/home/u/proj");
        classifier.learn(b"/home/u/env/pyvenv.cfg");
        for (path, executed, expected) in [
            (&b"/home/u/proj/data.csv"[..], false, Data),
            (b"/home/u/proj/train.py", false, Code),
            (b"/home/u/proj/run", true, Code),
            (
                b"/home/u/proj/__pycache__/m.cpython-311.pyc",
                false,
                Runtime,
            ),
            (
                b"/home/u/proj/.venv/lib/python3.11/site-packages/numpy/a.py",
                false,
                Package,
            ),
            (b"/home/u/env/bin/python", true, Package),
            (b"/home/u/proj/.roar/roar.db", false, Runtime),
            (b"/home/u/project2/data.csv", false, Data),
            (b"/usr/lib/x86_64-linux-gnu/libc.so.6", false, System),
            (
                b"/home/u/.pyenv/versions/3.11.7/lib/python3.11/json/__init__.py",
                false,
                System,
            ),
            (b"/etc/passwd", false, System),
            (b"/tmp/f", false, Temp),
            (b"/tmp/ray/session_1/logs/worker.out", false, Runtime),
            (
                b"/home/u/proj/r/session_2026-01-31_12-00-00_123456_4711/logs/worker.out",
                false,
                Runtime,
            ),
            (
                b"/home/u/proj/session_2026-01-31_12-00-00_subject1/in.csv",
                false,
                Data,
            ),
            (
                b"/home/u/proj/session_2026-01-31_12-00-00_123456_b/in",
                false,
                Data,
            ),
            (b"/data/ray_spilled_objects_mine/in", false, Data),
            (b"/data/ray_spilled_objects_0a/1-multi-2", false, Runtime),
            (b"/tmp/hsperfdata_u/4711", false, Runtime),
            (
                b"/tmp/ray/session_1/runtime_resources/working_dir_files/p/in.csv",
                false,
                Data,
            ),
            (b"/data/set.parquet", false, Data),
            (b"/srv/conda/bin/tool", true, System),
        ] {
            assert_eq!(
                classifier.category(path, executed),
                expected,
                "{}",
                path.as_bstr()
            );
        }
    }

    #[test]
    fn a_project_below_tmp_is_a_project_and_the_root_directory_is_none() {
        assert_eq!(
            Classifier::new(b"/tmp/p").category(b"/tmp/p/a", false),
            Data
        );
        assert_eq!(Classifier::new(b"/tmp/p").category(b"/tmp/q", false), Temp);
        assert_eq!(Classifier::new(b"/").category(b"/etc/hosts", false), System);
    }
}
