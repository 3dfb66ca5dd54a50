//! The table of cases: what a program does, and what of it is to be recorded.
//!
//! A line of shell, in a directory of its own that holds what `Place::new` puts there.
//! `$W` is `tests/programs/ways.c`, `$STATIC` the same linked statically, `$MUSL` `copy.c` with musl,
//! `$I386` `tests/programs/copy32.c`, `$PYTHON` a Python.

/// One case.
pub(crate) struct Case {
    /// What it shows.
    pub(crate) name: &'static str,
    /// The line of shell.
    pub(crate) line: &'static str,
    /// Files to be recorded, below the case's directory: read, written, deleted.
    pub(crate) expected: [&'static [&'static str]; 3],
    /// The line in which the tracer is run, as `"$@"`.
    pub(crate) outside: &'static str,
    /// Whether it needs root.
    pub(crate) is_roots: bool,
}

const NONE: &[&str] = &[];

const fn case(
    name: &'static str,
    line: &'static str,
    reads: &'static [&'static str],
    writes: &'static [&'static str],
    deletes: &'static [&'static str],
) -> Case {
    Case {
        name,
        line,
        expected: [reads, writes, deletes],
        outside: "exec \"$@\"",
        is_roots: false,
    }
}

/// Copies `in` to `out`.
const fn copy(name: &'static str, line: &'static str) -> Case {
    case(name, line, &["in"], &["out"], NONE)
}

impl Case {
    const fn inside(self, outside: &'static str) -> Self {
        Self { outside, ..self }
    }

    const fn roots(self) -> Self {
        Self {
            is_roots: true,
            ..self
        }
    }
}

/// All cases, by what they are about.
pub(crate) const CASES: &[(&str, &[Case])] = &[
    ("Inputs", INPUTS),
    ("Outputs", OUTPUTS),
    ("Calls", CALLS),
    ("Programs and processes", PROGRAMS),
    ("Places and names", PLACES),
];

const INPUTS: &[Case] = &[
    case("opened for reading", "$W open r in", &["in"], NONE, NONE),
    case(
        "opened for reading and writing, and left alone",
        "$W open + old",
        &["old"],
        NONE,
        NONE,
    ),
    case(
        "opened for reading and writing, and changed",
        "$W open '+!' old",
        &["old"],
        &["old"],
        NONE,
    ),
    case(
        "opened for appending, and left alone",
        "$W open wa old",
        &["old"],
        NONE,
        NONE,
    ),
    case(
        "appended to content",
        "$W open 'wa!' old",
        &["old"],
        &["old"],
        NONE,
    ),
    case(
        "appended to nothing",
        "$W open 'wa!' empty",
        NONE,
        &["empty"],
        NONE,
    ),
    case(
        "opened for writing without truncating",
        "$W open w old",
        &["old"],
        NONE,
        NONE,
    ),
    case(
        "written without truncating",
        "$W open 'w!' old",
        &["old"],
        &["old"],
        NONE,
    ),
    case(
        "opened for writing, empty, then read",
        "$W open w empty; $W open r empty",
        &["empty"],
        NONE,
        NONE,
    ),
    case(
        "truncated to a length",
        "$W truncate 3",
        &["old"],
        &["old"],
        NONE,
    ),
    case(
        "truncated when opened",
        "$W open 'wt!' old",
        NONE,
        &["old"],
        NONE,
    ),
    case(
        "truncated when opened for reading",
        "$W open rt old",
        NONE,
        &["old"],
        NONE,
    ),
    case("a program", "./program 0", &["program"], NONE, NONE),
    case("a script", "./tool", &["tool"], NONE, NONE),
    case(
        "a module",
        "$PYTHON -B -c 'import module'",
        &["module.py"],
        NONE,
        NONE,
    ),
    case("a mapping", "$W map", &["in"], NONE, NONE),
    case("open when the trace began", "cat", &["in"], NONE, NONE).inside("exec \"$@\" < in"),
    case("read through a link", "$W open r link", &["in"], NONE, NONE),
    case(
        "read through a link to a directory",
        "$W open r dlink/in",
        &["d/in"],
        NONE,
        NONE,
    ),
    case(
        "read, then overwritten",
        "$W open r old; $W open 'wt!' old",
        &["old"],
        &["old"],
        NONE,
    ),
    case("opens that fail", "$W fails", NONE, NONE, NONE),
    case(
        "opens that may not be",
        "setpriv --reuid=65534 --regid=65534 --clear-groups \
         bash -c '! $W open r secret && ! $W open wc new && $W open r in' 2>/dev/null",
        &["in"],
        NONE,
        NONE,
    )
    .roots(),
    case(
        "a running program opened with truncation",
        "./program 1 & sleep .4; ! $W open wt program 2>/dev/null; wait",
        &["program"],
        NONE,
        NONE,
    ),
    case("execs that fail", "$W exec_fails", NONE, NONE, NONE),
    case(
        "stat, access, readdir, readlink, O_PATH; pipes, sockets, devices",
        "$W nothing",
        NONE,
        NONE,
        NONE,
    ),
    case(
        "read what was written just before",
        "$W own",
        NONE,
        &["out"],
        NONE,
    ),
];

const OUTPUTS: &[Case] = &[
    case(
        "created, and empty",
        "$W open wc _SUCCESS",
        NONE,
        &["_SUCCESS"],
        NONE,
    ),
    case("written", "$W creat", NONE, &["out"], NONE),
    case(
        "through a link to nothing",
        "ln -s out dangling; $W open 'wc!' dangling",
        NONE,
        &["out"],
        NONE,
    ),
    case(
        "modified with the times set back",
        "touch -r old ref; $W open '+!' old; touch -r ref old; rm ref",
        &["old"],
        &["old"],
        NONE,
    ),
    case(
        "a temporary file renamed",
        "$W open 'wc!' tmp; $W rename tmp out",
        NONE,
        &["out"],
        NONE,
    ),
    case(
        "a file replaced by a temporary one",
        "$W open 'wc!' tmp; $W rename tmp old",
        NONE,
        &["old"],
        NONE,
    ),
    case(
        "a directory filled and renamed",
        "$W fill_and_rename",
        NONE,
        &["final/a", "final/u/b"],
        NONE,
    ),
    case(
        "a foreign directory renamed",
        "$W rename d e",
        &["d/in", "d/tool"],
        &["e/in", "e/tool"],
        &["d/in", "d/tool"],
    ),
    case("linked", "$W links", &["in"], &["in2", "out", "out2"], NONE),
    case(
        "linked, and written by the second name",
        "ln old two; $W open 'wa!' two",
        &["old"],
        &["old", "two"],
        NONE,
    ),
    case(
        "a foreign file renamed",
        "$W rename in out",
        &["in"],
        &["out"],
        &["in"],
    ),
    case("made and deleted", "$W ephemeral", NONE, NONE, NONE),
    case(
        "deleted",
        "$W unlinks",
        NONE,
        NONE,
        &["d/in", "d/tool", "old"],
    ),
    case("deleted and made again", "$W again", NONE, &["old"], NONE),
    case(
        "deletes that may not be",
        "chmod 1777 d; ! setpriv --reuid=65534 --regid=65534 --clear-groups rm -f d/in 2>/dev/null",
        NONE,
        NONE,
        NONE,
    )
    .roots(),
    case(
        "by a program that was killed",
        "$W kill; :",
        NONE,
        &["out"],
        NONE,
    ),
    case(
        "by a descriptor from before the trace",
        "$W open r in; echo >&3",
        &["in"],
        &["out"],
        NONE,
    )
    .inside("exec \"$@\" 3> out"),
];

const CALLS: &[Case] = &[
    case("openat", "$W openat", &["d/in"], &["d/out"], NONE),
    case(
        "openat from an O_PATH descriptor",
        "$W openpath",
        &["in"],
        NONE,
        NONE,
    ),
    copy("openat2", "$W openat2"),
    case(
        "openat2 with RESOLVE_BENEATH, NO_SYMLINKS, NO_XDEV, NO_MAGICLINKS",
        "$W resolve",
        &["d/in", "in", "old"],
        NONE,
        NONE,
    ),
    case(
        "openat2 with RESOLVE_IN_ROOT",
        "$W in_root",
        &["d/in"],
        NONE,
        NONE,
    ),
    case(
        "openat2 with RESOLVE_CACHED",
        "$W cached",
        &["in"],
        NONE,
        NONE,
    ),
    case("creat", "$W creat", NONE, &["out"], NONE),
    case(
        "O_TMPFILE, linkat of /proc/self/fd",
        "$W tmpfile",
        NONE,
        &["out"],
        NONE,
    ),
    case(
        "O_TMPFILE, linkat with AT_EMPTY_PATH",
        "$W tmpfile_empty_path",
        NONE,
        &["out"],
        NONE,
    )
    .roots(),
    case(
        "O_PATH, opened again through /proc",
        "$W reopen",
        &["in"],
        &["old"],
        NONE,
    ),
    case("open_by_handle_at", "$W handle", &["in"], &["old"], NONE).roots(),
    case("execve", "$W execve", &["tool"], NONE, NONE),
    case(
        "execveat from a directory",
        "$W execveat",
        &["d/tool"],
        NONE,
        NONE,
    ),
    case(
        "execveat of a descriptor",
        "$W fexecve",
        &["program"],
        NONE,
        NONE,
    ),
    case(
        "mmap, shared and writable",
        "$W map_shared",
        &["old"],
        &["old"],
        NONE,
    ),
    copy("copy_file_range", "$W copy_file_range"),
    copy("sendfile", "$W sendfile"),
    copy("splice", "$W splice"),
    case("ftruncate", "$W ftruncate", &["old"], &["old"], NONE),
    case(
        "ftruncate of a new file",
        "$W ftruncate_new",
        NONE,
        &["out"],
        NONE,
    ),
    case("fallocate", "$W fallocate", &["old"], &["old"], NONE),
    case(
        "fallocate that punches a hole",
        "$W punch",
        &["old"],
        &["old"],
        NONE,
    ),
    case("rename", "$W rename in out", &["in"], &["out"], &["in"]),
    case(
        "rename onto a file",
        "$W rename in old",
        &["in"],
        &["old"],
        &["in"],
    ),
    case("renames that fail", "$W rename_fails", NONE, NONE, NONE),
    case(
        "renameat2 with EXCHANGE",
        "$W exchange in old",
        &["in", "old"],
        &["in", "old"],
        NONE,
    ),
    case(
        "renameat2 with EXCHANGE, of directories",
        "$W exchange d full",
        &["d/in", "d/tool", "full/a"],
        &["d/a", "full/in", "full/tool"],
        &["d/in", "d/tool", "full/a"],
    ),
    case(
        "renameat2 with EXCHANGE, of a file and a directory",
        "$W exchange in full",
        &["full/a", "in"],
        &["full", "in/a"],
        &["full/a", "in"],
    ),
    case(
        "renameat2 with EXCHANGE, of a file and a link",
        "$W exchange old link",
        &["old"],
        &["link"],
        &["old"],
    ),
    case(
        "renameat2 with NOREPLACE",
        "$W noreplace",
        &["in"],
        &["out"],
        &["in"],
    ),
    case(
        "link, symlink",
        "$W links",
        &["in"],
        &["in2", "out", "out2"],
        NONE,
    ),
    case(
        "unlink, unlinkat, rmdir",
        "$W unlinks",
        NONE,
        NONE,
        &["d/in", "d/tool", "old"],
    ),
];

const PROGRAMS: &[Case] = &[
    case(
        "i386, static",
        "$I386; test $? = 0",
        &["in", "old"],
        &["old", "out"],
        &["empty"],
    ),
    copy("C, static", "$STATIC copy"),
    copy("musl, static", "$MUSL in out"),
    copy("without an environment", "env -i $W copy"),
    copy("fork, a grandchild", "$W fork"),
    copy("vfork", "$W vfork"),
    copy("posix_spawn", "$W spawn"),
    copy("clone3", "$W clone3"),
    copy("clone with CLONE_VM", "$W clone_vm"),
    copy("a thread", "$W thread"),
    case(
        "a thread with a working directory of its own",
        "$W thread_cwd",
        &["d/in", "old"],
        NONE,
        NONE,
    ),
    copy("a daemon that outlives the command", "$W daemon"),
    case(
        "a descriptor passed over a socket",
        "$W pass",
        NONE,
        &["out"],
        NONE,
    ),
    copy("a shell's redirections", "cat < in > out"),
    copy("a pipe", "cat in | sort > out"),
];

const PLACES: &[Case] = &[
    case("chroot", "$STATIC chroot", &["d/in"], &["d/out"], NONE).roots(),
    copy("user, mount and pid namespaces", "unshare -Urmpf $W copy"),
    copy("bubblewrap", "bwrap --dev-bind / / --unshare-pid $W copy"),
    copy("bubblewrap, the directory bound elsewhere", "bwrap --dev-bind / / --bind . /mnt --chdir /mnt $STATIC copy"),
    case("a bind mount in a mount namespace", "unshare -Urm bash -c 'mount --bind d full && cat full/in > full/out'", &["d/in"], &["d/out"], NONE),
    case("overlayfs", "cat m/in > m/out; echo x >> m/tool", &["m/in", "m/tool"], &["m/out", "m/tool"], NONE)
        .inside("mkdir u w m; exec unshare -m bash -c 'mount -t overlay -o lowerdir=d,upperdir=u,workdir=w o m && exec \"$@\"' - \"$@\"")
        .roots(),
    copy("/proc/self/fd", "cat /proc/self/fd/0 < in > out"),
    case("/proc/self/root, /proc/self/cwd", "$W proc_root", &["in", "old"], NONE, NONE),
    case("beyond PATH_MAX", "$W deep", NONE, &["deep"], NONE),
    case("names with newlines, quotes, bytes that are not UTF-8", "$W names", NONE, &[r#" tab\t\"quote\\"#, r"caf\xe9", r"new\nline"], NONE),
];
