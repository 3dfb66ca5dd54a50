//! What has come home of a job: collected every few seconds while it runs, and once more
//! when it has ended, so that a node or a cluster that goes takes little with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use roar_lineage::{event, fragment, fragment::Fragment};
use roar_worker::launcher;

use super::collect::{Collected, Dashboard, Fetched};
use crate::commands::merge;

/// Between two collections.
const PERIOD: Duration = Duration::from_secs(3);
/// A collection that took long is followed by a pause of so many times as long.
const RESPITE: u32 = 10;
/// With so much at home (bytes), the rest is left for the end.
const ENOUGH: usize = 1 << 28;

/// Files by node and name.
#[derive(Debug, Default)]
pub struct Gathered {
    files: BTreeMap<(String, String), Vec<u8>>,
    /// Of the files those that grow no more.
    complete: BTreeSet<(String, String)>,
    /// The files that are there, whether they could be had or not.
    listed: BTreeSet<(String, String)>,
    /// The session that they are of.
    pub session: Option<String>,
}

impl Gathered {
    /// Collects once more what may have changed; the nodes and files that could not be had.
    pub fn collect(
        &mut self,
        dashboard: &Dashboard,
        prefix: &str,
    ) -> Result<Collected, super::collect::CollectError> {
        if self.session.is_none() {
            self.session = dashboard.session().ok();
        }
        let collected = dashboard.collect(prefix, |node, name| {
            self.complete.contains(&(node.to_owned(), name.to_owned()))
        })?;
        self.take(&collected);
        Ok(collected)
    }

    /// Takes in what was collected in another way.
    pub fn add(&mut self, files: Vec<Fetched>) {
        for file in files {
            self.files.insert((file.node, file.name), file.bytes);
        }
    }

    /// A log that is gone from its node was sealed; one that went with its node was not.
    fn take(&mut self, collected: &Collected) {
        let listed = &collected.listed;
        for (node, names) in listed {
            let pairs = names.iter().map(|name| (node.clone(), name.clone()));
            self.listed.extend(pairs);
        }
        self.files.retain(|(node, name), _| {
            let names = listed.get(node);
            !is_log(name) || names.is_none_or(|names| names.contains(name))
        });
        for file in &collected.files {
            let key = (file.node.clone(), file.name.clone());
            let log = log_of(&file.name);
            if !is_log(&file.name) && listed.get(&file.node).is_some_and(|n| !n.contains(&log)) {
                self.complete.insert(key.clone());
            }
            let kept = self.files.entry(key).or_default();
            // Files only grow: a shorter one was cut on its way.
            if file.bytes.len() >= kept.len() {
                kept.clone_from(&file.bytes);
            }
        }
    }

    fn size(&self) -> usize {
        self.files.values().map(Vec::len).sum()
    }

    /// Whether a node has nothing of the job.
    pub fn is_without(&self, node: &str) -> bool {
        !self
            .files
            .keys()
            .chain(&self.listed)
            .any(|(of, _)| of == node)
    }

    /// Whether a node has a record of which neither the log nor what was sealed is here.
    pub fn lacks_some_of(&self, node: &str) -> bool {
        let is_its = |(of, _): &&(String, String)| of == node;
        let here = self.files.keys().filter(is_its);
        let here: BTreeSet<&str> = here.map(|(_, name)| stem_of(name)).collect();
        let mut listed = self.listed.iter().filter(is_its);
        listed.any(|(_, name)| !here.contains(stem_of(name)))
    }

    /// The fragments, those of sealed files before those of logs, and what was damaged.
    pub fn fragments(&self) -> (Vec<Fragment>, Vec<String>) {
        let (mut fragments, mut damaged) = (Vec::new(), Vec::new());
        let (logs, sealed): (Vec<_>, Vec<_>) =
            self.files.iter().partition(|((_, name), _)| is_log(name));
        for ((_, name), bytes) in sealed.into_iter().chain(logs) {
            match merge::fragments_of(bytes, is_log(name)) {
                Ok((read, _)) => fragments.extend(read),
                Err(why) => damaged.push(format!("{name}: {why}")),
            }
        }
        (fragments, damaged)
    }
}

/// Whether a file is a log, which is there as long as its supervisor works.
pub fn is_log(name: &str) -> bool {
    name.ends_with(event::EXTENSION)
}

fn log_of(name: &str) -> String {
    format!("{}{}", stem_of(name), event::EXTENSION)
}

fn stem_of(name: &str) -> &str {
    let sealed = name.strip_suffix(fragment::EXTENSION);
    let log = || name.strip_suffix(event::EXTENSION);
    sealed.or_else(log).unwrap_or(name)
}

/// A collection that goes on beside the job.
#[derive(Debug)]
pub struct Gathering {
    stop: Sender<()>,
    thread: Option<JoinHandle<Gathered>>,
}

impl Gathering {
    /// Begins; `dashboard` is found on the thread, since that may take its time.
    pub fn start(
        dashboard: impl FnOnce() -> Option<Dashboard> + Send + 'static,
        prefix: String,
    ) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = launcher::beside(move || {
            let mut gathered = Gathered::default();
            let mut pause = PERIOD;
            let is_over = |pause| stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout);
            if is_over(pause) {
                return gathered;
            }
            let Some(dashboard) = dashboard() else {
                return gathered;
            };
            while gathered.size() < ENOUGH {
                let began = Instant::now();
                let _ = gathered.collect(&dashboard, &prefix);
                pause = PERIOD.max(began.elapsed() * RESPITE);
                if is_over(pause) {
                    break;
                }
            }
            gathered
        });
        Self {
            stop,
            thread: thread.ok(),
        }
    }

    /// Ends it; what it has.
    pub fn end(self) -> Gathered {
        drop(self.stop);
        let ended = self.thread.map(JoinHandle::join);
        ended.and_then(Result::ok).unwrap_or_default()
    }
}
