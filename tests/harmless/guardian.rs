//! Death and stopping of the supervisor at random moments.
//!
//! `ROAR_HARMLESS_ROUNDS` sets how many, `ROAR_SEED` which moments.

use std::io::Write;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use roar_tests::{Project, roar, wait_until};

use crate::churn::{Churn, LIMIT};

/// A small generator of random numbers: xorshift64.
struct Random(u64);

impl Random {
    /// Seeded by `ROAR_SEED`, else by the clock; says by what.
    fn new(test: &str) -> Self {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let given = std::env::var("ROAR_SEED").ok();
        let seed = given.map_or_else(|| now().as_nanos() as u64, |seed| seed.parse().unwrap());
        let _ = writeln!(std::io::stderr(), "{test}: ROAR_SEED={seed}");
        Self(seed | 1)
    }

    /// Below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn duration(&mut self, limit: Duration) -> Duration {
        Duration::from_micros(self.below(limit.as_micros() as u64))
    }
}

/// How often: few times, or as `ROAR_HARMLESS_ROUNDS` tells for `of_thousand` in a
/// thousand.
fn rounds(few: u32, of_thousand: u32) -> u32 {
    let rounds = std::env::var("ROAR_HARMLESS_ROUNDS").ok();
    let many = |rounds: String| rounds.parse::<u32>().unwrap() * of_thousand / 1000;
    rounds.map_or(few, |rounds| few.max(many(rounds)))
}

fn send(pid: u32, signal: Signal) {
    // It may have ended.
    let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
}

/// Runs the load again and again, with trouble at a random moment of each, up to a part
/// of the time that it takes.
fn rounds_of(
    test: &str,
    rounds: u32,
    (size, part): (u32, f64),
    mut trouble: impl FnMut(&mut Random, u32),
) {
    let churn = Churn::new(size);
    let mut random = Random::new(test);
    let (mut incomplete, mut not_begun) = (0, 0);
    for round in 0..rounds {
        let running = churn.start(&[]);
        let supervisor = running.await_supervisor();
        let delay = random.duration(churn.took.mul_f64(part));
        std::thread::sleep(delay);
        trouble(&mut random, supervisor);
        let output = running.output();
        let seen = churn.seen(&output);
        if output.status.code() == Some(125) {
            // Before the command had begun: a failure of roar's own, and it did not begin.
            assert!(seen.is_untouched(), "round {round}: {seen:?}");
            not_begun += 1;
            continue;
        }
        assert_eq!(seen, churn.untraced, "round {round}, after {delay:?}");
        incomplete += u32::from(!churn.check(&churn.report()));
    }
    let said = format!("of {rounds}: {incomplete} incomplete, {not_begun} not begun");
    let _ = writeln!(std::io::stderr(), "{test}: {said}");
}

const ALL: (u32, f64) = (25, 0.9);
const START: (u32, f64) = (2, 0.1);

#[test]
fn killing_the_supervisor_changes_nothing() {
    let test = "killing_the_supervisor_changes_nothing";
    rounds_of(test, rounds(20, 1000), ALL, |_, supervisor| {
        send(supervisor, Signal::SIGKILL)
    });
}

#[test]
fn stopping_the_supervisor_for_a_while_changes_nothing() {
    let test = "stopping_the_supervisor_for_a_while_changes_nothing";
    rounds_of(test, rounds(8, 300), ALL, |random, supervisor| {
        send(supervisor, Signal::SIGSTOP);
        std::thread::sleep(random.duration(Duration::from_millis(400)));
        send(supervisor, Signal::SIGCONT);
    });
}

#[test]
fn killing_a_stopped_supervisor_changes_nothing() {
    let test = "killing_a_stopped_supervisor_changes_nothing";
    rounds_of(test, rounds(5, 300), ALL, |random, supervisor| {
        send(supervisor, Signal::SIGSTOP);
        std::thread::sleep(random.duration(Duration::from_millis(200)));
        send(supervisor, Signal::SIGKILL);
    });
}

#[test]
fn killing_the_supervisor_at_the_start_is_125_or_changes_nothing() {
    let test = "killing_the_supervisor_at_the_start_is_125_or_changes_nothing";
    let kill = |_: &mut Random, supervisor| send(supervisor, Signal::SIGKILL);
    rounds_of(test, rounds(25, 1000), START, kill);
}

/// Each takes as long as the guardian's patience and the launcher's.
#[test]
fn stopping_the_supervisor_for_good_changes_nothing() {
    let test = "stopping_the_supervisor_for_good_changes_nothing";
    rounds_of(test, rounds(1, 20), ALL, |_, supervisor| {
        send(supervisor, Signal::SIGSTOP)
    });
}

/// strace stops it after its second word to others: that the command begins. The third is the
/// command's.
#[test]
fn a_command_that_was_announced_and_not_let_go_does_not_begin() {
    let project = Project::new();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-q", "-o", "/dev/null", "-e", "trace=sendmsg"]);
    strace.args(["-e", "inject=sendmsg:signal=SIGSTOP:when=2"]);
    strace
        .arg(roar())
        .args(["trace", "-q", "--backend", "notify"]);
    strace.args(["--", "sh", "-c", "echo x > made"]);
    let mut strace = strace.current_dir(project.path("")).spawn().unwrap();
    let ended = wait_until(LIMIT, || strace.try_wait().unwrap().is_some());
    let _ = strace.kill();
    assert!(ended, "it hangs");
    assert_eq!(strace.wait().unwrap().code(), Some(125));
    assert!(!project.has("made"));
}
