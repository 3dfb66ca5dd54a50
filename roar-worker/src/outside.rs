//! Programs that have work done outside of the tree: by a container engine, a batch system, a
//! service manager, another host.

use bstr::{BString, ByteSlice};

use crate::scope;

/// What lets something run in a container, or moves files into one or out of it.
const OF_CONTAINERS: [&str; 10] = [
    "run", "exec", "start", "restart", "build", "buildx", "compose", "cp", "create", "stack",
];

/// What git has a host do that it fetches from or pushes to: git's own part is seen.
const OF_GIT: [&str; 3] = ["git-upload-pack", "git-receive-pack", "git-upload-archive"];

/// The name of a program that has work done by what is not traced, if it is one.
pub(crate) fn has_work_done<'a>(exe: &'a [u8], argv: &[BString]) -> Option<&'a [u8]> {
    let name = scope::base_name(exe);
    let has = match name {
        b"docker" | b"nerdctl" => {
            let is_it = |word: &BString| OF_CONTAINERS.iter().any(|it| word == it);
            argv.iter().any(is_it)
        }
        b"sbatch" | b"srun" | b"salloc" | b"qsub" | b"bsub" | b"condor_submit" => true,
        b"systemd-run" => true,
        b"ssh" => {
            let is_gits = |word: &BString| OF_GIT.iter().any(|it| word.starts_with_str(it));
            !argv.iter().any(is_gits)
        }
        _ => false,
    };
    has.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_asks_has_nothing_done() {
        let has = |line: &str| {
            let argv: Vec<BString> = line.split(' ').map(BString::from).collect();
            let exe = [b"/usr/bin/", argv[0].as_slice()].concat();
            has_work_done(&exe, &argv).is_some()
        };
        assert!(has("docker --host h run --rm image python x.py") && !has("docker ps -a"));
        assert!(has("sbatch job.sh") && has("ssh host make") && has("systemd-run --user make"));
        assert!(!has("ssh git@host git-upload-pack 'a/b.git'") && !has("sh -c docker"));
    }
}
