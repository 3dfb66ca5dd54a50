//! `roar dag`: the graph of tasks, step by step.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use owo_colors::OwoColorize;
use roar_lineage::document::File;
use roar_lineage::model::Status;
use roar_lineage::query::{Composite, Dag, EdgeObject, Node};

use super::drawing::Drawing;
use super::page;
use crate::cli::DagArgs;
use crate::error::UserError;
use crate::{listing, output, project};

/// Lines of one kind for a step; the rest is counted.
const LISTED: usize = 8;

/// Does it.
pub fn main(args: &DagArgs) -> Result<ExitCode, UserError> {
    let opened = project::open(args.all)?;
    let mut dag = opened.graph.dag();
    if args.same_content {
        // The others have the last word on where a file is from.
        dag.edges.splice(..0, opened.graph.same_content());
    }
    if args.json {
        output::json(&dag)?;
    } else if args.dot {
        output::write(&Drawing::new(&dag, &opened.root).dot())?;
    } else if args.mermaid {
        output::write(&Drawing::new(&dag, &opened.root).mermaid())?;
    } else if let Some(file) = &args.html {
        if args.all {
            dag.composites.clear();
        }
        let page = page::of(&dag, &opened.root);
        output::file(file, page.as_bytes())?;
    } else {
        output::write(&text(&dag, &opened.root, args.all))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(dag: &Dag, root: &Path, all: bool) -> String {
    if dag.nodes.is_empty() {
        return "no steps yet\n".to_owned();
    }
    let steps: HashMap<&str, usize> = dag
        .nodes
        .iter()
        .map(|node| (node.id.as_str(), node.step))
        .collect();
    let mut incoming: HashMap<_, Vec<(&EdgeObject, usize)>> = HashMap::new();
    let mut givers: HashMap<(&str, &str), BTreeSet<usize>> = HashMap::new();
    for edge in &dag.edges {
        if let Some(step) = steps.get(edge.from.as_str()) {
            let of_path = incoming.entry((&edge.to, edge.path.bytes()));
            of_path.or_default().push((edge, *step));
            givers
                .entry((&edge.to, edge.via))
                .or_default()
                .insert(*step);
        }
    }
    let mut text = String::new();
    let directories = Directories::new(if all { &[] } else { &dag.composites });
    for node in &dag.nodes {
        text.push_str(&step_text(node, root, &directories, |file| {
            let edges = incoming.get(&(&node.id, file.path.bytes()))?;
            let found = edges.iter().rfind(|(edge, _)| edge.leads_to(file));
            found.map(|(_, step)| *step)
        }));
        received(&mut text, node, &givers);
    }
    if !dag.coverage.complete {
        for gap in &dag.coverage.gaps {
            let line = format!(
                "gap: {} ({})",
                output::one_line(gap.detail.as_bytes()),
                gap.count
            );
            let _ = writeln!(text, "{}", output::cut(&line, 80).yellow());
        }
    }
    text
}

/// The steps that a node got objects from, and whose actor it is a method of.
fn received(text: &mut String, node: &Node, givers: &HashMap<(&str, &str), BTreeSet<usize>>) {
    for (via, words) in [
        ("object", "gets   objects of"),
        ("actor", "uses   the actor of"),
    ] {
        if let Some(from) = givers.get(&(node.id.as_str(), via)) {
            let list: Vec<String> = from.iter().map(|step| format!("@{step}")).collect();
            let line = output::cut(&list.join(", "), 50);
            let _ = writeln!(text, "   {words} {}", line.cyan());
        }
    }
}

/// Directories that are one artifact, by the tasks that read and wrote what is in them.
#[derive(Default)]
pub struct Directories<'a> {
    read: HashMap<&'a str, Vec<&'a [u8]>>,
    written: HashMap<&'a str, Vec<&'a [u8]>>,
}

impl<'a> Directories<'a> {
    /// Those of composites.
    pub fn new(composites: &'a [Composite]) -> Self {
        let mut all = Self::default();
        for composite in composites {
            let (read, written) = (&composite.consumers, &composite.producers);
            for (tasks, by_task) in [(read, &mut all.read), (written, &mut all.written)] {
                for task in tasks {
                    by_task
                        .entry(task)
                        .or_default()
                        .push(composite.path.bytes());
                }
            }
        }
        all
    }
}

/// One step; `producer` tells the step that made a file it read. Files of `directories` are
/// one line.
pub fn step_text(
    node: &Node,
    root: &Path,
    directories: &Directories<'_>,
    producer: impl Fn(&File) -> Option<usize>,
) -> String {
    let mut text = String::new();
    let kind = match serde_json::to_value(node.kind) {
        Ok(serde_json::Value::String(kind)) => kind.replace('_', " "),
        _ => String::new(),
    };
    let name = output::cut(&output::one_line(node.name.bytes()), 40);
    let _ = write!(
        text,
        "{} {}  {}",
        format!("@{}", node.step).bold(),
        name.bold(),
        kind.dimmed()
    );
    let _ = match node.status {
        Status::Completed => writeln!(text, "  {}", "completed".green()),
        Status::Failed => match node.exit_code {
            Some(code) => writeln!(text, "  {}", format!("failed, exit {code}").red()),
            None => writeln!(text, "  {}", "failed".red()),
        },
        Status::Killed => writeln!(text, "  {}", "killed".red()),
        Status::Running => writeln!(text, "  {}", "running".yellow()),
        Status::Unknown => writeln!(text, "  {}", "unknown".yellow()),
    };
    if let Some(given) = &node.given {
        let line = output::command(given.command.items());
        let _ = writeln!(text, "   runs   {}", output::cut(&line, 68).dimmed());
    }
    let from = |files: &[(&[u8], &File)]| {
        let steps: BTreeSet<usize> = files
            .iter()
            .filter_map(|(_, file)| producer(file))
            .collect();
        match (steps.first(), steps.len()) {
            (None, _) => String::new(),
            (Some(step), 1) => format!("  from @{step}"),
            (_, several) => format!("  from {several} steps"),
        }
    };
    let unchanged = |files: &[(&[u8], &File)]| match files.iter().all(|(_, file)| file.unchanged) {
        true => "  unchanged".to_owned(),
        false => String::new(),
    };
    let id = node.id.as_str();
    let read = directories.read.get(id).map_or(&[][..], Vec::as_slice);
    let written = directories.written.get(id).map_or(&[][..], Vec::as_slice);
    list(&mut text, "reads ", &node.reads, root, read, from);
    list(&mut text, "writes", &node.writes, root, written, unchanged);
    list(&mut text, "deletes", &node.deletes, root, &[], |_| {
        String::new()
    });
    text
}

fn list(
    text: &mut String,
    word: &str,
    files: &[File],
    root: &Path,
    directories: &[&[u8]],
    note: impl Fn(&[(&[u8], &File)]) -> String,
) {
    let files = files.iter().map(|file| (file.path.bytes().as_ref(), file));
    let lines = listing::lines(files, |path: &[u8]| {
        let around = directories.iter().find(|around| path.starts_with(around))?;
        path.get(..around.len())
    });
    for line in lines.iter().take(LISTED) {
        let note = note(&line.files);
        let room = 68usize.saturating_sub(note.chars().count());
        let _ = writeln!(text, "   {word} {}{}", line.name(root, room), note.cyan());
    }
    if lines.len() > LISTED {
        let _ = writeln!(text, "   {word} … and {} more", lines.len() - LISTED);
    }
}
