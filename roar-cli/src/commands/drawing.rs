//! The graph for programs that draw: Graphviz's DOT language, and Mermaid's flowcharts.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::path::Path;

use roar_lineage::query::Dag;

use crate::output;

/// Tasks, and the versions of files that they used, with arrows along the flow of data.
pub struct Drawing {
    nodes: Vec<(Shape, String)>,
    arrows: Vec<(usize, usize, Line)>,
}

#[derive(Clone, Copy)]
enum Shape {
    Task,
    File,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Line {
    Solid,
    /// Of what is no file: Ray's objects and actors.
    Dashed,
}

impl Drawing {
    /// Of a graph; paths beneath `root` are relative to it.
    pub fn new(dag: &Dag, root: &Path) -> Self {
        let mut drawing = Self {
            nodes: Vec::new(),
            arrows: Vec::new(),
        };
        let mut tasks = HashMap::new();
        for node in &dag.nodes {
            let name = output::cut(&output::one_line(node.name.bytes()), 40);
            let task = drawing.add(Shape::Task, format!("@{} {name}", node.step));
            tasks.insert(node.id.as_str(), task);
        }
        let shown = |path: &[u8]| output::cut(&output::shown_path(path, Some(root)), 60);
        let mut written: HashMap<(usize, &[u8]), usize> = HashMap::new();
        for (task, node) in dag.nodes.iter().enumerate() {
            for file in &node.writes {
                let path: &[u8] = file.path.bytes();
                let left = drawing.add(Shape::File, shown(path));
                written.insert((task, path), left);
                drawing.arrows.push((task, left, Line::Solid));
            }
        }
        let (mut joined, mut drawn) = (HashSet::new(), HashSet::new());
        for edge in &dag.edges {
            let ends = [&edge.from, &edge.to].map(|id| tasks.get(id.as_str()).copied());
            let [Some(from), Some(to)] = ends else {
                continue;
            };
            let path: &[u8] = edge.path.bytes();
            let arrow = match edge.via {
                "file" | "s3" => {
                    joined.insert((to, path));
                    let left = written.get(&(from, path)).copied();
                    (left.unwrap_or(from), to, Line::Solid)
                }
                _ => (from, to, Line::Dashed),
            };
            // One file may have been read in several versions, or as several objects.
            if drawn.insert(arrow) {
                drawing.arrows.push(arrow);
            }
        }
        let mut sources = HashMap::new();
        for (task, node) in dag.nodes.iter().enumerate() {
            for file in &node.reads {
                let path: &[u8] = file.path.bytes();
                if joined.contains(&(task, path)) {
                    continue;
                }
                let source = *sources
                    .entry((path, &file.digest))
                    .or_insert_with(|| drawing.add(Shape::File, shown(path)));
                drawing.arrows.push((source, task, Line::Solid));
            }
        }
        drawing
    }

    fn add(&mut self, shape: Shape, label: String) -> usize {
        self.nodes.push((shape, label));
        self.nodes.len() - 1
    }

    /// In the DOT language (<https://graphviz.org/doc/info/lang.html>).
    pub fn dot(&self) -> String {
        let mut text = "digraph roar {\n  rankdir=LR;\n".to_owned();
        for (index, (shape, label)) in self.nodes.iter().enumerate() {
            let shape = match shape {
                Shape::Task => "box",
                Shape::File => "ellipse",
            };
            let label = label.replace('\\', "\\\\").replace('"', "\\\"");
            let _ = writeln!(text, "  n{index} [shape={shape}, label=\"{label}\"];");
        }
        for (from, to, line) in &self.arrows {
            let style = match line {
                Line::Solid => "",
                Line::Dashed => " [style=dashed]",
            };
            let _ = writeln!(text, "  n{from} -> n{to}{style};");
        }
        text + "}\n"
    }

    /// As a flowchart of Mermaid's (<https://mermaid.js.org/syntax/flowchart.html>).
    pub fn mermaid(&self) -> String {
        let mut text = "flowchart LR\n".to_owned();
        for (index, (shape, label)) in self.nodes.iter().enumerate() {
            let label = label.replace('#', "#35;").replace('"', "#quot;");
            let label = label.replace('<', "#lt;").replace('>', "#gt;");
            let _ = match shape {
                Shape::Task => writeln!(text, "  n{index}[\"{label}\"]"),
                Shape::File => writeln!(text, "  n{index}([\"{label}\"])"),
            };
        }
        for (from, to, line) in &self.arrows {
            let arrow = match line {
                Line::Solid => "-->",
                Line::Dashed => "-.->",
            };
            let _ = writeln!(text, "  n{from} {arrow} n{to}");
        }
        text
    }
}
