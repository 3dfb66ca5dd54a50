//! Random small programs, as scripts of `tests/programs/script.c`.

/// Random numbers (splitmix64): the same for the same seed everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_F491_4F6C_DD1D))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
}

/// What is there when a program begins: files with their content, and what is linked.
pub(crate) const FILES: &[(&str, &str)] = &[
    ("f0", "content of f0\n"),
    ("f1", "content of f1\n"),
    ("f2", ""),
    ("x0", "#!/bin/true\n"),
    ("d0/f0", "content of d0/f0\n"),
    ("d0/f1", "content of d0/f1\n"),
    ("d0/e/f0", "content of d0/e/f0\n"),
    ("d1/f2", "content of d1/f2\n"),
    ("caf%E9", "not UTF-8\n"),
];
pub(crate) const DIRECTORIES: &[&str] = &["d0", "d0/e", "d1", "d2"];
pub(crate) const LINKS: &[(&str, &str)] = &[("s0", "f0"), ("s1", "d0"), ("d1/s2", "f2")];

const NAMES: &[&str] = &["f0", "f1", "f2", "f3", "s0", "s2", "caf%E9", "a%0Ab", "x0"];
const DIRS: &[&str] = &["d0", "d1", "d2", "e", "s1"];
const SLOTS: usize = 6;

/// A program: its lines.
pub(crate) fn program(seed: u64) -> Vec<String> {
    let mut random = Random::new(seed);
    let mut lines = Vec::new();
    let length = 12 + random.below(40);
    block(&mut random, &mut lines, length, 0);
    lines
}

fn block(random: &mut Random, lines: &mut Vec<String>, length: usize, depth: usize) {
    for _ in 0..length {
        if depth < 2 && random.one_in(14) {
            lines.push(format!("{{ {}", random.of(&["fork", "exec", "thread"])));
            let length = 2 + random.below(8);
            block(random, lines, length, depth + 1);
            lines.push("}".into());
        } else {
            call(random, lines);
        }
    }
}

fn directory(random: &mut Random) -> String {
    match random.below(6) {
        0 => "d0/e".into(),
        1 => format!("d1/../{}", random.of(DIRS)),
        2 => format!("@/{}", random.of(DIRS)),
        _ => random.of(DIRS).into(),
    }
}

fn path(random: &mut Random) -> String {
    let name = random.of(NAMES);
    match random.below(12) {
        0..5 => name.into(),
        5..8 => format!("{}/{name}", directory(random)),
        8 => format!("./{name}"),
        9 | 10 => format!("@/{name}"),
        _ => format!("@//d0/./e/..//{name}"),
    }
}

/// A path of anything.
fn any(random: &mut Random) -> String {
    match random.one_in(4) {
        true => directory(random),
        false => path(random),
    }
}

fn base(random: &mut Random) -> String {
    match random.one_in(3) {
        true => random.below(SLOTS).to_string(),
        false => "-".into(),
    }
}

fn flags(random: &mut Random) -> i32 {
    let mut flags = match random.below(5) {
        0 | 1 => libc::O_RDONLY,
        2 | 3 => libc::O_WRONLY,
        _ => libc::O_RDWR,
    };
    let more = [
        (libc::O_CREAT, 2),
        (libc::O_TRUNC, 4),
        (libc::O_APPEND, 4),
        (libc::O_EXCL, 10),
        (libc::O_NOFOLLOW, 10),
        (libc::O_DIRECTORY, 25),
        (libc::O_PATH, 25),
    ];
    for (flag, n) in more {
        if random.one_in(n) {
            flags |= flag;
        }
    }
    flags
}

fn call(random: &mut Random, lines: &mut Vec<String>) {
    let slot = random.below(SLOTS);
    let other = random.below(SLOTS);
    let line = match random.below(40) {
        0..9 => {
            let how = random.of(&["open", "openat", "openat2"]);
            let base = if how == "open" {
                "-".into()
            } else {
                base(random)
            };
            format!("{how} {slot} {base} {} {}", path(random), flags(random))
        }
        9 => format!("creat {slot} {}", path(random)),
        10 => {
            lines.push(format!(
                "tmpfile {slot} {}",
                random.of(&[".", "d0", "d1", "@/"])
            ));
            lines.push(format!("write {slot} unnamed"));
            format!("linkfd {slot} {}", path(random))
        }
        11 | 12 => {
            let flags = libc::O_DIRECTORY | if random.one_in(2) { libc::O_PATH } else { 0 };
            format!("openat {slot} - {} {flags}", directory(random))
        }
        13..17 => format!("write {slot} {}", random.of(&["one", "second", "x"])),
        17 => format!("read {slot}"),
        18 => format!("ftruncate {slot} {}", random.below(20)),
        19 => format!("map {slot}"),
        20 => format!("copy {slot} {other}"),
        21 => format!("close {slot}"),
        22 => format!("{} {slot} {other}", random.of(&["dup", "dup2"])),
        23 | 24 => format!("truncate {} {}", random.below(16), path(random)),
        25..29 => {
            let flags = match random.below(6) {
                0 => libc::RENAME_NOREPLACE,
                1 | 2 => libc::RENAME_EXCHANGE,
                _ => 0,
            };
            let (from, to) = (any(random), any(random));
            format!(
                "rename {} {from} {} {to} {flags}",
                base(random),
                base(random)
            )
        }
        29 | 30 => {
            let (from, to) = (path(random), path(random));
            format!("link {} {from} {} {to}", base(random), base(random))
        }
        31 => {
            let target = random.of(&["f0", "f3", "d0", "@/d1", "@/f1", "s0"]);
            format!("symlink {target} {}", path(random))
        }
        32..35 => format!("unlink {} {}", base(random), path(random)),
        35 => format!("mkdir {}", any(random)),
        36 => format!("rmdir {}", directory(random)),
        37 => format!(
            "chdir {}",
            random.of(&["d0", "d1", "e", "@/", "@/d0/e", "s1"])
        ),
        38 => format!("fchdir {slot}"),
        _ => format!("run {}", random.of(&["@/x0", "x0", "./x0"])),
    };
    lines.push(line);
}
