//! `roar reproduce`: makes again what a reference stands for, and compares.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use bstr::BString;
use roar_lineage::document::{File, Text};
use roar_lineage::model::{FileVersion, Job};
use roar_lineage::query::{Graph, Part, Standing, Work};
use roar_worker::host;
use serde::Serialize;

use super::again::Again;
use crate::checked::{self, Checked, Verdict};
use crate::cli::ReproduceArgs;
use crate::error::UserError;
use crate::ray::submit;
use crate::{output, project};

/// The document.
#[derive(Debug, Serialize)]
struct Reproduced {
    schema: &'static str,
    session: String,
    /// Whether the steps were run.
    ran: bool,
    steps: Vec<Step>,
    /// What was to be made, as it was, and whether it is that now.
    files: Vec<Checked>,
    /// Whether all of it is; null where that is not known.
    same: Option<bool>,
}

/// A command that is run again.
#[derive(Debug, Serialize)]
struct Step {
    step: Option<usize>,
    job: String,
    #[serde(flatten)]
    command: Text,
    #[serde(flatten)]
    cwd: Text,
}

/// Does it.
pub fn main(args: &ReproduceArgs) -> Result<ExitCode, UserError> {
    let opened = project::open(false)?;
    let graph = &opened.graph;
    let what = format!(
        "cannot make {} again",
        output::one_line(args.reference.as_bytes())
    );
    let cannot = |why: &dyn std::fmt::Display| UserError::new(what.as_str(), why);
    let work = graph.work();
    let made = opened
        .find(&args.reference, |reference, cwd| {
            graph.made(reference, cwd, &work)
        })
        .map_err(|error| cannot(&error).hint("`roar dag` lists steps and the files they wrote"))?;
    let plan = Plan {
        graph,
        work: &work,
        root: &opened.root,
    };
    let jobs = plan.jobs(&made).map_err(|refusal| {
        let error = cannot(&refusal.why);
        match refusal.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })?;
    let of = |job: usize, why: String| cannot(&format!("{}: {why}", plan.name(job)));
    let mut commands = Vec::new();
    for &job in &jobs {
        let again = Again::of(&graph.jobs()[job]).map_err(|why| of(job, why))?;
        commands.push((job, again));
    }
    if !args.dry_run {
        for (job, again) in &commands {
            run(&opened.root, &graph.jobs()[*job], again, args.json)
                .map_err(|why| of(*job, why))?;
        }
    }
    let mut files = checked::all(made.iter().map(|part| part.standing.clone()).collect());
    if !args.dry_run {
        let unmade = compare_with_record(&mut files, graph)?;
        if let Some(path) = unmade {
            let path = output::shown_path(&path, Some(&opened.root));
            let why = format!("{path} was not written this time");
            return Err(
                cannot(&why).hint("a program that finds it up to date leaves it: move it away")
            );
        }
    }
    let is_bad = files.iter().any(|file| file.verdict.is_bad());
    let is_known = files.iter().all(|file| file.verdict == Verdict::Same);
    let steps: Vec<Step> = jobs.iter().map(|&job| plan.step(job)).collect();
    match (args.json, args.dry_run) {
        (true, _) => output::json(&Reproduced {
            schema: "roar.reproduce/1",
            session: graph.session().to_owned(),
            ran: !args.dry_run,
            steps,
            files,
            same: (is_bad || is_known).then_some(!is_bad),
        })?,
        (false, true) => output::write(&plan_text(&steps, &opened.root))?,
        (false, false) => output::write(&checked::text(&files, &opened.root))?,
    }
    Ok(ExitCode::from(u8::from(is_bad && !args.dry_run)))
}

/// Why nothing is run.
struct Refusal {
    why: String,
    hint: Option<String>,
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self { why, hint: None }
    }
}

/// What is to be run, and what forbids it.
struct Plan<'a> {
    graph: &'a Graph,
    work: &'a [Work],
    root: &'a Path,
}

impl Plan<'_> {
    /// The jobs that are to be run again, in their order.
    fn jobs(&self, made: &[Part]) -> Result<Vec<usize>, Refusal> {
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
        jobs.sort_by_key(|&job| self.work[job].command.as_ref().map(|(step, _)| *step));
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
            known.insert(content(standing), checked.verdict.is_bad());
        }
        let is_gone = |part: &&Part| known.get(&content(&part.standing)) == Some(&true);
        let gone: Vec<&Part> = needed.iter().filter(is_gone).collect();
        let sources: Vec<&&Part> = gone.iter().filter(|part| part.maker.is_none()).collect();
        if let Some(first) = sources.first() {
            let (name, path) = (self.name(job), self.path(first));
            return Err(Refusal {
                why: format!(
                    "{name} read {path}, which is not what it was{}",
                    more(sources.len())
                ),
                hint: name
                    .starts_with('@')
                    .then(|| format!("`roar verify {name}` says what differs")),
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
                    return Err(why.into());
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
        let mut refused = Vec::new();
        for (part, checked) in last.iter().zip(checks) {
            let is_own = part.maker.is_some_and(|maker| self.is_again(maker, jobs));
            let has_own_content = jobs.iter().any(|&job| {
                let mut left = self.work[job].left.iter();
                let digest = &part.standing.file.digest;
                left.any(|own| {
                    own.location == part.location
                        && digest.is_some()
                        && own.standing.file.digest == *digest
                })
            });
            let is_meant = meant.contains(&part.location);
            let by_hand = || format!("{}, which was changed since", self.path(part));
            let by_another = || {
                let writer = part.maker.map_or_else(String::new, |job| self.name(job));
                format!("{}, which {writer} wrote later", self.path(part))
            };
            refused.extend(match checked.verdict {
                Verdict::Missing => None,
                Verdict::Changed | Verdict::Unreadable if is_own => (!is_meant).then(by_hand),
                Verdict::Same if is_own || has_own_content => None,
                Verdict::Unknown | Verdict::Elsewhere if is_own => None,
                _ => Some(by_another()),
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
    fn is_again(&self, job: usize, jobs: &BTreeSet<usize>) -> bool {
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

    fn name(&self, job: usize) -> String {
        match &self.work[job].command {
            Some((step, _)) => format!("@{step}"),
            None => format!("job {}", self.graph.jobs()[job].id),
        }
    }

    fn step(&self, index: usize) -> Step {
        let job = &self.graph.jobs()[index];
        Step {
            step: self.work[index].command.as_ref().map(|(step, _)| *step),
            job: job.id.clone(),
            command: Text::list("command", &job.command),
            cwd: Text::new("cwd", &job.cwd),
        }
    }
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
fn more(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        _ => format!(", and {} more", count - 1),
    }
}

/// Runs and records a command, which is to end as it did.
fn run(root: &Path, job: &Job, again: &Again, json: bool) -> Result<(), String> {
    output::say(again.line());
    let mut roar = Command::new(std::env::current_exe().map_err(|error| error.to_string())?);
    roar.arg("run")
        .arg("--store")
        .arg(root.join(project::DIRECTORY));
    roar.arg("--root").arg(OsStr::from_bytes(&job.root));
    if json {
        roar.arg("--quiet").stdout(Stdio::from(std::io::stderr()));
    }
    roar.arg("--").args(&again.command).current_dir(&again.cwd);
    let ended = roar.status().map_err(|error| error.to_string())?;
    let (now, before) = ((ended.code(), ended.signal()), (job.exit_code, job.signal));
    // Of a submitted job it is the driver's own.
    let is_submitted = submit::parse(&again.command).is_some();
    let is_same = match is_submitted {
        true => ended.success() == (before.0 == Some(0)),
        false => now == before,
    };
    match is_same || before == (None, None) {
        true => Ok(()),
        false => {
            let (now, before) = (end_of(now), end_of(before));
            Err(format!("it ended with {now}, and with {before} before"))
        }
    }
}

fn end_of(status: (Option<i32>, Option<i32>)) -> String {
    match status {
        (Some(code), _) => format!("status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

/// What is not on this machine is what the new record says of it. The first path that by the
/// new record was not written again.
fn compare_with_record(
    files: &mut [Checked],
    before: &Graph,
) -> Result<Option<BString>, UserError> {
    let opened = project::open(false)?;
    let old: BTreeSet<&str> = before.jobs().iter().map(|job| job.id.as_str()).collect();
    let work = opened.graph.work();
    let jobs = opened.graph.jobs().iter().zip(&work);
    let new = jobs.filter(|(job, _)| !old.contains(job.id.as_str()));
    let parts = new.flat_map(|(_, work)| &work.left);
    let written: HashMap<&[u8], &File> = parts
        .map(|part| &part.standing.file)
        .map(|file| (file.path.bytes().as_ref(), file))
        .collect();
    for checked in files {
        let path: &[u8] = checked.file.path.bytes();
        let Some(now) = written.get(path) else {
            return Ok(Some(path.into()));
        };
        if checked.verdict != Verdict::Elsewhere {
            continue;
        }
        if let (Some(one), Some(other)) = (&checked.file.digest, &now.digest) {
            checked.verdict = match one == other {
                true => Verdict::Same,
                false => Verdict::Changed,
            };
            checked.found = Some(checked::Content {
                digest: now.digest.clone(),
                size: now.size.unwrap_or_default(),
            });
        }
    }
    Ok(None)
}

fn plan_text(steps: &[Step], root: &Path) -> String {
    let mut text = String::new();
    for step in steps {
        let number = step
            .step
            .map_or_else(String::new, |step| format!("@{step}"));
        let command = output::one_line(&bstr::join(" ", step.command.items()));
        let cwd = output::shown_path(step.cwd.bytes(), Some(root));
        let _ = writeln!(text, "{number:<5} {}", output::cut(&command, 72));
        if Path::new(&cwd) != root {
            let _ = writeln!(text, "      in {}", output::cut(&cwd, 69));
        }
    }
    text
}
