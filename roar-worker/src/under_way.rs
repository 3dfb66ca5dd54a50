//! Calls that were let go a moment ago, and may not have happened yet.
//!
//! What a call will find is looked up before it is let go (seccomp_unotify(2)). Where another
//! process changes one of its names in between, the two may come in either order, and nobody
//! can tell in which they came: that is noticed, and said.

use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Duration;

use bstr::{BString, ByteSlice};
use roar_lineage::category::Classifier;
use roar_lineage::event::Access;
use roar_lineage::model::{Category, Stamp};

use crate::arch::Call;
use crate::clock;
use crate::proc::{self, Activity};
use crate::sys::{file, process};

/// How long a call may take to begin once it is let go (nanoseconds): its thread waits for a
/// CPU.
const SOON: u64 = 10_000_000;
/// How long, where its process runs (nanoseconds).
const SOON_RUNNING: u64 = 2_000_000;
/// What a thread has done its call in (nanoseconds of CPU).
const ENOUGH: u64 = 200_000;
/// How often a thread that runs is looked at, and what is between two looks.
pub(crate) const LOOKS: usize = 3;
pub(crate) const PAUSE: Duration = Duration::from_micros(10);
/// Most calls that are remembered.
const MOST: usize = 64;

/// What a call does to names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    /// It uses what they lead to.
    Uses,
    /// It makes this one.
    Makes(BString),
    /// It takes this one away, and may put another file at another.
    Takes(BString),
}

impl Effect {
    /// Of a call that looked these names up, and accesses these files.
    pub(crate) fn of(call: Call, names: &[BString], accesses: &[Access]) -> Self {
        let made = accesses.iter().find_map(|access| match access {
            Access::Write {
                path, before: None, ..
            } => Some(path),
            Access::Link { to, .. } => Some(to),
            _ => None,
        });
        let takes = matches!(
            call,
            Call::Rename | Call::Renameat | Call::Renameat2 | Call::Unlink | Call::Unlinkat
        );
        match (made, names.first()) {
            (Some(made), _) => Self::Makes(made.clone()),
            (None, Some(name)) if takes => Self::Takes(name.clone()),
            _ => Self::Uses,
        }
    }

    /// Whether it can be seen to have happened.
    fn is_seen(&self) -> bool {
        match self {
            Self::Uses => false,
            Self::Makes(name) => file::stat_path(name).is_ok(),
            Self::Takes(name) => {
                file::stat_path(name).is_err_and(|error| error.raw_os_error() == Some(libc::ENOENT))
            }
        }
    }
}

/// A call that names files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Naming {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) nr: i32,
    pub(crate) args: [u64; 6],
    /// Whether it becomes another program.
    pub(crate) executes: bool,
    pub(crate) stamp: Stamp,
    /// What its process had run until then (nanoseconds of CPU), where others are there.
    pub(crate) ran: Option<u64>,
    /// Paths, as they are and as they were given.
    pub(crate) names: Vec<BString>,
    pub(crate) effect: Effect,
    /// Whether it is known to have happened.
    pub(crate) is_over: Cell<bool>,
}

impl Naming {
    /// Whether it has surely happened: it can be seen, or its thread is about something else.
    pub(crate) fn has_happened(&self) -> bool {
        if !self.is_over.get() {
            self.is_over
                .set(self.effect.is_seen() || self.has_returned());
        }
        self.is_over.get()
    }

    fn has_returned(&self) -> bool {
        if self.executes {
            // An exec holds what asking for its call would wait for.
            return proc::link(self.pid, "exe").as_ref() == self.names.first();
        }
        match proc::activity(self.pid, self.tid) {
            Some(Activity::Waits(nr, args)) => (nr, args) != (self.nr, self.args),
            Some(Activity::None) => true,
            Some(Activity::Runs) => self.has_run(),
            None => false,
        }
    }

    /// Whether its thread has run since for longer than the call takes. Of several nobody knows
    /// which has run.
    fn has_run(&self) -> bool {
        let now = process::cpu_time(self.pid);
        let ran = now.zip(self.ran).map(|(now, ran)| now.saturating_sub(ran));
        match ran {
            Some(ran) if ran < ENOUGH => false,
            Some(_) if proc::has_one_thread(self.pid) => true,
            _ => clock::stamp().saturating_sub(self.stamp) > SOON_RUNNING,
        }
    }

    /// Whether nothing is at stake: all that it names is run-time state, of which it does not
    /// matter which version somebody had.
    fn is_of_runtime(&self) -> bool {
        let classifier = Classifier::default();
        let category = |name: &BString| classifier.category(name, false);
        let mut names = self.names.iter();
        names.all(|name| category(name) == Category::Runtime)
    }

    /// Whether the order of two calls matters to what they find.
    fn meets(&self, other: &Self) -> bool {
        let is_in = |names: &[BString], around: &[BString]| {
            let mut names = names.iter();
            names.any(|name| around.iter().any(|around| is_at_or_below(name, around)))
        };
        let (own, others) = (self.names.as_slice(), other.names.as_slice());
        match (&self.effect, &other.effect) {
            (Effect::Uses, Effect::Uses) => false,
            // Whoever comes first, both have the same file.
            (Effect::Makes(_), Effect::Makes(_)) => false,
            (Effect::Makes(made), Effect::Uses) => others.contains(made),
            (Effect::Uses, Effect::Makes(made)) => own.contains(made),
            (Effect::Takes(_), Effect::Uses | Effect::Makes(_)) => is_in(others, own),
            (Effect::Uses | Effect::Makes(_), Effect::Takes(_)) => is_in(own, others),
            // Of two that are put at one name it is seen in the end which came last.
            (Effect::Takes(one), Effect::Takes(another)) => {
                let (one, another) = (std::slice::from_ref(one), std::slice::from_ref(another));
                is_in(one, others)
                    || is_in(others, one)
                    || is_in(another, own)
                    || is_in(own, another)
            }
        }
    }
}

fn is_at_or_below(path: &BString, directory: &BString) -> bool {
    let rest = path.strip_prefix(directory.as_bytes());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// The calls of a moment, by when they were let go.
#[derive(Default)]
pub(crate) struct UnderWay(VecDeque<Naming>);

impl UnderWay {
    /// A thread calls: what it called before has happened.
    pub(crate) fn returned(&mut self, tid: u32, now: Stamp) {
        self.0
            .retain(|it| it.tid != tid && now.saturating_sub(it.stamp) < SOON);
    }

    /// A process has ended.
    pub(crate) fn ended(&mut self, pid: u32) {
        self.0.retain(|it| it.pid != pid);
    }

    /// Threads of other processes that may be changing names just now.
    pub(crate) fn changing(&self, pid: u32, has_happened: impl Fn(&Naming) -> bool) -> Vec<u32> {
        let others = self.0.iter().filter(|it| it.pid != pid);
        let changing = others.filter(|it| it.effect != Effect::Uses && !has_happened(it));
        changing.map(|it| it.tid).collect()
    }

    /// Whether what a call finds depends on one of these threads.
    pub(crate) fn depends(&self, naming: &Naming, changing: &[u32]) -> bool {
        let mut others = self.0.iter();
        others.any(|it| changing.contains(&it.tid) && it.meets(naming)) && !naming.is_of_runtime()
    }

    /// A call that is about to be let go. Gives the processes of which it is not known whether
    /// their calls come before it, where that matters to them.
    pub(crate) fn add(
        &mut self,
        naming: Naming,
        has_happened: impl Fn(&Naming) -> bool,
    ) -> Vec<u32> {
        let mut met: Vec<_> = match naming.effect {
            Effect::Uses => Vec::new(),
            _ => self.0.iter().collect(),
        };
        met.retain(|it| it.pid != naming.pid && it.meets(&naming) && !it.is_of_runtime());
        for looks in 1..=LOOKS {
            met.retain(|it| !has_happened(it));
            if !met.is_empty() && looks < LOOKS {
                std::thread::sleep(PAUSE);
            }
        }
        let mut unclear: Vec<u32> = met.iter().map(|it| it.pid).collect();
        unclear.dedup();
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(naming);
        unclear
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming(pid: u32, effect: Effect, names: &[&str]) -> Naming {
        Naming {
            pid,
            tid: pid,
            nr: 0,
            args: [0; 6],
            executes: false,
            stamp: 1,
            ran: None,
            is_over: Cell::default(),
            names: names.iter().map(|name| BString::from(*name)).collect(),
            effect,
        }
    }

    fn meet(a: (Effect, &[&str]), b: (Effect, &[&str])) -> bool {
        let (a, b) = (naming(1, a.0, a.1), naming(2, b.0, b.1));
        assert_eq!(a.meets(&b), b.meets(&a));
        a.meets(&b)
    }

    fn takes(name: &str) -> Effect {
        Effect::Takes(name.into())
    }

    fn makes(name: &str) -> Effect {
        Effect::Makes(name.into())
    }

    #[test]
    fn a_name_on_the_way_matters_to_what_is_behind_it() {
        let used = (Effect::Uses, &["/a/v1/f", "/a/cur/f"][..]);
        assert!(meet(used.clone(), (takes("/a/new"), &["/a/new", "/a/cur"])));
        assert!(meet(used.clone(), (takes("/a"), &["/a", "/b"])));
        assert!(!meet(used.clone(), (takes("/a/c"), &["/a/c", "/a/cu"])));
        assert!(!meet(used.clone(), (Effect::Uses, &["/a/v1/f"])));
        assert!(!meet(used, (makes("/a/v1/g"), &["/a/v1/g"])));
    }

    #[test]
    fn a_directory_is_the_same_whatever_is_put_into_it() {
        let listed = (Effect::Uses, &["/d"][..]);
        assert!(!meet(
            listed.clone(),
            (takes("/d/new"), &["/d/new", "/d/x"])
        ));
        assert!(meet(listed, (takes("/d"), &["/d", "/e"])));
    }

    #[test]
    fn what_two_put_at_one_name_is_seen_in_the_end() {
        let put = |from| (takes(from), [from, "/x"]);
        let (one, another) = (put("/a"), put("/b"));
        assert!(!meet((one.0.clone(), &one.1), (another.0, &another.1)));
        assert!(meet((one.0.clone(), &one.1), (takes("/x"), &["/x"])));
        assert!(meet((one.0, &one.1), (takes("/a"), &["/a", "/c"])));
    }

    #[test]
    fn a_thread_that_runs_on_has_made_its_call() {
        let pid = std::process::id();
        let ran = process::cpu_time(pid).unwrap();
        let mut call = naming(pid, Effect::Uses, &["/x"]);
        while process::cpu_time(pid).unwrap() < ran + 2 * ENOUGH {}
        call.ran = Some(ran);
        call.stamp = 0;
        assert!(call.has_run());
        call.ran = process::cpu_time(pid).map(|ran| ran + ENOUGH);
        assert!(!call.has_run());
    }

    #[test]
    fn of_two_that_make_a_name_either_may_be_the_first() {
        let made = (makes("/a"), &["/a"][..]);
        assert!(!meet(made.clone(), made.clone()));
        assert!(meet(made.clone(), (Effect::Uses, &["/a"])));
        assert!(meet(made, (takes("/a"), &["/a"])));
    }

    #[test]
    fn what_is_made_and_taken_is_known_by_the_call() {
        let names = ["/from".into(), "/to".into()];
        let of = |call, accesses: &[Access]| Effect::of(call, &names, accesses);
        assert_eq!(of(Call::Renameat2, &[]), takes("/from"));
        assert_eq!(of(Call::Unlink, &[]), takes("/from"));
        assert_eq!(of(Call::Openat, &[]), Effect::Uses);
    }

    #[test]
    fn a_call_has_happened_once_its_thread_calls_again_or_ends() {
        let mut calls = UnderWay::default();
        let add = |calls: &mut UnderWay, pid, effect, name: &str| {
            calls.add(naming(pid, effect, &[name]), |_| false)
        };
        let depends = |calls: &UnderWay, pid, name: &str, has_happened: bool| {
            let changing = calls.changing(pid, |_| has_happened);
            calls.depends(&naming(pid, Effect::Uses, &[name]), &changing)
        };
        assert!(add(&mut calls, 6, takes("/d"), "/d").is_empty());
        assert!(depends(&calls, 7, "/d/x", false) && !depends(&calls, 7, "/d/x", true));
        assert!(!depends(&calls, 6, "/d/x", false) && !depends(&calls, 7, "/e", false));
        assert!(add(&mut calls, 7, Effect::Uses, "/d/x").is_empty());
        assert_eq!(add(&mut calls, 8, takes("/d/x"), "/d/x"), [6, 7]);
        calls.returned(6, 2);
        calls.ended(8);
        assert!(!depends(&calls, 9, "/d/x", false));
        assert_eq!(add(&mut calls, 10, takes("/d/x"), "/d/x"), [7]);
        calls.returned(11, 1 + SOON);
        assert!(add(&mut calls, 11, takes("/d/x"), "/d/x").is_empty());
        let seen = calls.add(naming(12, takes("/d"), &["/d"]), |_| true);
        assert!(seen.is_empty());
    }

    #[test]
    fn of_what_is_no_more_than_run_time_state_nothing_is_at_stake() {
        let (port, new) = ("/tmp/ray/session_1/port", "/tmp/ray/session_1/port.tmp");
        for (used, at_stake) in [(port, 0), ("/data/port", 1)] {
            let mut calls = UnderWay::default();
            let poll = naming(1, Effect::Uses, &[used]);
            assert!(calls.add(poll.clone(), |_| false).is_empty());
            let put = naming(2, takes(new), &[new, used]);
            assert_eq!(calls.add(put, |_| false).len(), at_stake);
            let changing = calls.changing(1, |_| false);
            assert_eq!(calls.depends(&poll, &changing), at_stake > 0);
        }
    }

    #[test]
    fn an_effect_is_seen() {
        assert!(makes("/proc/self").is_seen() && !makes("/no/such").is_seen());
        assert!(takes("/no/such").is_seen() && !takes("/proc/self").is_seen());
        assert!(!Effect::Uses.is_seen());
    }
}
