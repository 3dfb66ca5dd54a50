//! Programs that have work done outside of the tree: by a container engine, a batch system, a
//! service manager, another host.

use bstr::{BStr, BString, ByteSlice};

use crate::scope;

/// What a container engine's client has done.
const OF_CONTAINERS: [&str; 8] = [
    "run", "exec", "start", "restart", "build", "create", "cp", "commit",
];

/// The same by commands of two words.
const OF_GROUPS: [(&str, &[&str]); 6] = [
    ("container", &OF_CONTAINERS),
    (
        "compose",
        &[
            "up", "run", "exec", "start", "restart", "build", "create", "cp",
        ],
    ),
    ("image", &["build"]),
    ("buildx", &["build", "bake"]),
    ("stack", &["deploy"]),
    ("service", &["create", "update", "scale"]),
];

/// Options of the client's, and of compose's, that the next word belongs to.
const WITH_VALUE: [&str; 17] = [
    "--config",
    "-c",
    "--context",
    "-H",
    "--host",
    "-l",
    "--log-level",
    "--tlscacert",
    "--tlscert",
    "--tlskey",
    "-n",
    "--namespace",
    "-f",
    "--file",
    "-p",
    "--project-name",
    "--env-file",
];

/// What git has a host do that it fetches from or pushes to: git's own part is seen.
const OF_GIT: [&str; 3] = ["git-upload-pack", "git-receive-pack", "git-upload-archive"];

/// The name of a program that has work done by what is not traced, if it is one.
pub(crate) fn has_work_done<'a>(exe: &'a [u8], argv: &[BString]) -> Option<&'a [u8]> {
    let name = scope::base_name(exe);
    let words = argv.get(1..).unwrap_or_default();
    let has = |word: &str| words.iter().any(|it| it == word);
    let is_it = match name {
        b"docker" | b"nerdctl" => has_containers_work(&mut commands(words)),
        b"docker-compose" => has_containers_work(
            &mut [b"compose"[..].as_bstr()]
                .into_iter()
                .chain(commands(words)),
        ),
        b"sbatch" | b"srun" | b"qsub" | b"bsub" | b"condor_submit" => !has("--version"),
        // Of a scope the command is this program's own.
        b"systemd-run" => !has("--scope") && !has("--version"),
        b"ssh" => !words.iter().any(|word| only_connects(word)) && !is_of_git(words),
        _ => false,
    };
    (is_it && !has("--help")).then_some(name)
}

/// The words that are no options and belong to none.
fn commands(words: &[BString]) -> impl Iterator<Item = &BStr> {
    let mut is_value = false;
    let is_command = move |word: &&BString| {
        let is_option = word.starts_with(b"-");
        let belongs = std::mem::replace(&mut is_value, WITH_VALUE.iter().any(|it| *word == it));
        !is_option && !belongs
    };
    words.iter().filter(is_command).map(|word| word.as_bstr())
}

fn has_containers_work(words: &mut dyn Iterator<Item = &BStr>) -> bool {
    let Some(first) = words.next() else {
        return false;
    };
    let is_in = |list: &[&str], word: &BStr| list.iter().any(|it| word == it);
    match OF_GROUPS.iter().find(|(group, _)| first == group) {
        Some((_, commands)) => words.next().is_some_and(|word| is_in(commands, word)),
        None => is_in(&OF_CONTAINERS, first),
    }
}

/// Whether ssh runs nothing: it tells something, or forwards ports (`-V`, `-G`, `-Q`, `-N`).
fn only_connects(word: &[u8]) -> bool {
    let flags = word.strip_prefix(b"-").unwrap_or_default();
    let is_flag = |byte: &u8| b"46AaCfGgKkMNnQqsTtVvXxYy".contains(byte);
    flags.iter().all(is_flag) && flags.iter().any(|byte| b"VGQN".contains(byte))
}

fn is_of_git(words: &[BString]) -> bool {
    let is_it = |word: &BString| OF_GIT.iter().any(|it| word.starts_with_str(it));
    words.iter().any(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(line: &str) -> bool {
        let argv: Vec<BString> = line.split(' ').map(BString::from).collect();
        let exe = [b"/usr/bin/", argv[0].as_slice()].concat();
        has_work_done(&exe, &argv).is_some()
    }

    #[test]
    fn work_is_had_done() {
        for line in [
            "docker --host h run --rm image python x.py",
            "docker -H h --tls container exec c make",
            "docker compose -f x.yml -p y up -d",
            "docker commit c i",
            "docker service update s",
            "docker-compose up",
            "sbatch job.sh",
            "qsub -V job.sh",
            "ssh host make",
            "ssh -tt -o LogLevel=QUIET host make",
            "systemd-run --user make",
        ] {
            assert!(has(line), "{line}");
        }
    }

    #[test]
    fn what_only_asks_has_nothing_done() {
        for line in [
            "docker ps -a",
            "docker --context run ps",
            "docker network create n",
            "docker logs build",
            "docker inspect run",
            "docker compose ps",
            "docker buildx ls",
            "docker run --help",
            "docker-compose logs run",
            "sbatch --version",
            "ssh -V",
            "ssh -G host",
            "ssh -fN -L 1:h:1 host",
            "ssh git@host git-upload-pack 'a/b.git'",
            "systemd-run --scope make",
            "sh -c docker",
        ] {
            assert!(!has(line), "{line}");
        }
    }
}
