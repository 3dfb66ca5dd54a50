//! What is to be run to make something again, and what forbids it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bstr::BString;
use roar_lineage::document::Text;
use roar_lineage::model::{FileState, FileVersion};
use roar_lineage::query::{Graph, Part, Standing, Work};
use roar_worker::host;

use crate::checked::{self, Verdict};
use crate::commands::again::Again;
use crate::output;
use crate::ray::submit;

/// Why nothing is run.
pub struct Refusal {
    /// Why not.
    pub why: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self { why, hint: None }
    }
}

/// What is to be run, and what forbids it.
pub struct Remake<'a> {
    /// The session.
    pub graph: &'a Graph,
    /// What its jobs did.
    pub work: &'a [Work],
    /// The project's root.
    pub root: &'a Path,
}

impl Remake<'_> {
    /// The jobs that are to be run again, in their order.
    pub fn jobs(&self, made: &[Part]) -> Result<Vec<usize>, Refusal> {
        if made.is_empty() {
            return Err("it left nothing".to_owned().into());
        }
        let mut jobs = BTreeSet::new();
        let mut waiting: Vec<usize> = made.iter().filter_map(|part| part.maker).collect();
        let mut known = HashMap::new();
        while let Some(job) = waiting.pop() {
            if jobs.insert(job) {
                waiting.extend(self.makers_of_what_is_gone(job, &mut known)?);
            }
        }
        self.redirections(made, &jobs)?;
        self.other_hosts(&jobs)?;
        self.overwritten(made, &jobs)?;
        let mut jobs: Vec<usize> = jobs.into_iter().collect();
        // A producer has a step before its consumers'.
        jobs.sort_by_key(|&job| self.work[job].step());
        Ok(jobs)
    }

    /// The jobs that made what a job needs and what is not what it was.
    fn makers_of_what_is_gone(
        &self,
        job: usize,
        known: &mut HashMap<Content, bool>,
    ) -> Result<Vec<usize>, Refusal> {
        let needed = &self.work[job].needed;
        let unseen = needed.iter().map(|part| &part.standing);
        let unseen: Vec<Standing> = unseen
            .filter(|standing| !known.contains_key(&content(standing)))
            .cloned()
            .collect();
        for (standing, checked) in unseen.iter().zip(checked::all(unseen.clone())) {
            known.insert(content(standing), is_gone(standing, checked.verdict));
        }
        let is_there = |part: &&Part| known.get(&content(&part.standing)) != Some(&true);
        let gone = needed
            .iter()
            .filter(|part| !is_there(part) || leads_elsewhere(part));
        let gone: Vec<&Part> = gone.collect();
        let sources: Vec<&&Part> = gone.iter().filter(|part| part.maker.is_none()).collect();
        if let Some(first) = sources.first() {
            let (name, path) = (self.name(job), self.path(first));
            let rest = more(sources.len());
            let hint = match self.work[job].changed.contains(&first.location) {
                true => {
                    format!("{name} changed it: put back what was before, or `roar run {name}`")
                }
                false => format!("`roar verify {name}` says what differs"),
            };
            let via = first.standing.file.via.as_ref();
            return Err(match via.filter(|_| is_there(first)) {
                Some(via) => {
                    let via = output::shown_path(via.bytes(), Some(self.root));
                    let why = "which does not lead there now";
                    format!("{name} read {path} through {via}, {why}{rest}").into()
                }
                None => Refusal {
                    why: format!("{name} read {path}, which is not what it was{rest}"),
                    hint: name.starts_with('@').then_some(hint),
                },
            });
        }
        Ok(gone.into_iter().filter_map(|part| part.maker).collect())
    }

    /// What a shell gave to a command, and took from it, it will not when that runs again.
    fn redirections(&self, made: &[Part], jobs: &BTreeSet<usize>) -> Result<(), Refusal> {
        let needed = jobs.iter().flat_map(|&job| &self.work[job].needed);
        let mut parts = made.iter().chain(needed);
        match parts.find(|part| part.is_handed_over) {
            Some(part) => Err(Refusal {
                why: format!("{} was redirected by a shell", self.path(part)),
                hint: Some("`roar run sh -c '… > FILE'` records redirections too".to_owned()),
            }),
            None => Ok(()),
        }
    }

    fn other_hosts(&self, jobs: &BTreeSet<usize>) -> Result<(), Refusal> {
        let own = host::name();
        for &job in jobs {
            let is_submitted = submit::parse(&Again::words(&self.graph.jobs()[job])).is_some();
            match &self.work[job].command {
                Some((_, other)) if *other != own && !is_submitted => {
                    let why = format!(
                        "{} ran on {}",
                        self.name(job),
                        output::one_line(other.as_bytes())
                    );
                    let hint = Some(format!("`roar run {}` runs it here", self.name(job)));
                    return Err(Refusal { why, hint });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What is there and is neither what the jobs left there nor to be made again stays.
    fn overwritten(&self, made: &[Part], jobs: &BTreeSet<usize>) -> Result<(), Refusal> {
        let changed = jobs.iter().flat_map(|&job| &self.work[job].changed);
        let changed: BTreeSet<usize> = changed.copied().collect();
        let meant: BTreeSet<usize> = made.iter().map(|part| part.location).collect();
        let last = self.graph.left_at(&changed);
        let checks = checked::all(last.iter().map(|part| part.standing.clone()).collect());
        let own = jobs.iter().flat_map(|&job| &self.work[job].left);
        let own: HashSet<(usize, &str)> = own
            .filter_map(|part| Some((part.location, part.standing.file.digest.as_deref()?)))
            .collect();
        let mut refused = Vec::new();
        for (part, checked) in last.iter().zip(checks) {
            let is_own = part.maker.is_some_and(|maker| self.is_again(maker, jobs));
            let digest = part.standing.file.digest.as_deref();
            let has_own_content =
                digest.is_some_and(|digest| own.contains(&(part.location, digest)));
            let is_meant = meant.contains(&part.location);
            let by_hand = || Some(format!("{}, which was changed since", self.path(part)));
            let path = OsStr::from_bytes(part.standing.file.path.bytes());
            let is_link = Path::new(path)
                .symlink_metadata()
                .is_ok_and(|found| found.is_symlink());
            refused.extend(match checked.verdict {
                _ if is_link => Some(format!("what {} is a link to", self.path(part))),
                Verdict::Missing => None,
                Verdict::Changed | Verdict::Unreadable if is_own && is_meant => None,
                Verdict::Changed | Verdict::Unreadable => by_hand(),
                Verdict::Same if is_own || has_own_content => None,
                Verdict::Unknown | Verdict::Elsewhere if is_own => None,
                _ => {
                    let writer = part.maker.map_or_else(String::new, |job| self.name(job));
                    Some(format!("{}, which {writer} wrote", self.path(part)))
                }
            });
        }
        match refused.first() {
            None => Ok(()),
            Some(first) => Err(Refusal {
                why: format!("that would overwrite {first}{}", more(refused.len())),
                hint: Some("move it away, or `roar run @STEP` for single steps".to_owned()),
            }),
        }
    }

    /// Whether a job is one of these, or the same command run again.
    pub fn is_again(&self, job: usize, jobs: &BTreeSet<usize>) -> bool {
        let all = self.graph.jobs();
        let same = |&other: &usize| {
            let (a, b) = (&all[job], &all[other]);
            (&a.command, &a.cwd) == (&b.command, &b.cwd)
        };
        jobs.contains(&job) || jobs.iter().any(same)
    }

    fn path(&self, part: &Part) -> String {
        output::shown_path(part.standing.file.path.bytes(), Some(self.root))
    }

    /// A job's name for people.
    pub fn name(&self, job: usize) -> String {
        match self.work[job].step() {
            Some(step) => format!("@{step}"),
            None => format!("job {}", self.graph.jobs()[job].id),
        }
    }
}

/// Whether what was read is there no more, or perhaps not: where it was changed before
/// anybody had its digest. What was taken away, and is there, somebody put back.
fn is_gone(standing: &Standing, verdict: Verdict) -> bool {
    let was_there = standing.file.state != FileState::Missing;
    let is_another = verdict == Verdict::Unknown && standing.version.is_some() && was_there;
    verdict.is_bad() || is_another
}

/// Whether a file was reached through a link that now leads elsewhere. One that is gone the step
/// may have made itself, unless somebody else made the file: then it may be of that one. A path
/// that is the end of the file's own is that of a changed root.
fn leads_elsewhere(part: &Part) -> bool {
    let path = part.standing.file.path.bytes();
    let via = part.standing.file.via.as_ref().map(Text::bytes);
    via.filter(|via| !path.ends_with(via)).is_some_and(|via| {
        let via = Path::new(OsStr::from_bytes(via));
        match via.canonicalize() {
            Ok(found) => found.as_os_str().as_bytes() != path,
            Err(_) => part.maker.is_some() && via.parent().is_some_and(Path::exists),
        }
    })
}

/// What is looked at once.
type Content = (BString, Option<String>, Option<String>, Option<FileVersion>);

fn content(standing: &Standing) -> Content {
    let file = &standing.file;
    let path = file.path.bytes().to_owned();
    (
        path,
        file.node.clone(),
        file.digest.clone(),
        standing.version,
    )
}

/// Of several only one is named.
pub fn more(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        _ => format!(", and {} more", count - 1),
    }
}
