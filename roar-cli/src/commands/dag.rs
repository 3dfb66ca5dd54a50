//! `roar dag`: the graph of tasks, step by step.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use owo_colors::OwoColorize;
use roar_lineage::document::File;
use roar_lineage::model::Status;
use roar_lineage::query::{Dag, Node};

use crate::cli::DagArgs;
use crate::error::UserError;
use crate::{output, project};

/// Files of one kind listed for a step; the rest is counted.
const LISTED: usize = 8;

/// Does it.
pub fn main(args: &DagArgs) -> Result<ExitCode, UserError> {
    let opened = project::open(args.all)?;
    let dag = opened.graph.dag();
    if args.json {
        output::json(&dag)?;
    } else {
        output::write(&text(&dag, &opened.root))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(dag: &Dag, root: &Path) -> String {
    if dag.nodes.is_empty() {
        return "no steps yet\n".to_owned();
    }
    let steps: HashMap<&str, usize> = dag
        .nodes
        .iter()
        .map(|node| (node.id.as_str(), node.step))
        .collect();
    let mut producers: HashMap<(&str, &[u8]), usize> = HashMap::new();
    for edge in &dag.edges {
        if let Some(step) = steps.get(edge.from.as_str()) {
            producers.insert((&edge.to, edge.path.bytes()), *step);
        }
    }
    let mut text = String::new();
    for node in &dag.nodes {
        text.push_str(&step_text(node, root, |file| {
            producers
                .get(&(node.id.as_str(), file.path.bytes()))
                .copied()
        }));
        received(&mut text, dag, node, &steps);
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
fn received(text: &mut String, dag: &Dag, node: &Node, steps: &HashMap<&str, usize>) {
    for (via, words) in [
        ("object", "gets   objects of"),
        ("actor", "uses   the actor of"),
    ] {
        let incoming = dag
            .edges
            .iter()
            .filter(|edge| edge.to == node.id && edge.via == via);
        let from: BTreeSet<usize> = incoming
            .filter_map(|edge| steps.get(edge.from.as_str()).copied())
            .collect();
        if !from.is_empty() {
            let list: Vec<String> = from.iter().map(|step| format!("@{step}")).collect();
            let line = output::cut(&list.join(", "), 50);
            let _ = writeln!(text, "   {words} {}", line.cyan());
        }
    }
}

/// One step; `producer` tells the step that made a file it read.
pub fn step_text(node: &Node, root: &Path, producer: impl Fn(&File) -> Option<usize>) -> String {
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
    list(
        &mut text,
        "reads ",
        &node.reads,
        root,
        |file| match producer(file) {
            Some(step) => format!("  from @{step}"),
            None => String::new(),
        },
    );
    list(&mut text, "writes", &node.writes, root, |file| {
        if file.unchanged {
            "  unchanged".to_owned()
        } else {
            String::new()
        }
    });
    list(&mut text, "deletes", &node.deletes, root, |_| String::new());
    text
}

fn list(
    text: &mut String,
    word: &str,
    files: &[File],
    root: &Path,
    note: impl Fn(&File) -> String,
) {
    for file in files.iter().take(LISTED) {
        let note = note(file);
        let room = 68usize.saturating_sub(note.chars().count());
        let path = output::cut(&output::shown_path(file.path.bytes(), Some(root)), room);
        let _ = writeln!(text, "   {word} {path}{}", note.cyan());
    }
    if files.len() > LISTED {
        let _ = writeln!(text, "   {word} … and {} more", files.len() - LISTED);
    }
}
