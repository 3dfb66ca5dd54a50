//! The graph for programs that draw: Graphviz's DOT language, and Mermaid's flowcharts.

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

#[derive(Clone, Copy)]
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
        for node in &dag.nodes {
            let name = output::cut(&output::one_line(node.name.bytes()), 40);
            drawing.add(Shape::Task, format!("@{} {name}", node.step));
        }
        let flow = dag.flow();
        let first = drawing.nodes.len();
        for version in &flow.versions {
            let path = output::shown_path(version.file.path.bytes(), Some(root));
            drawing.add(Shape::File, output::cut(&path, 60));
        }
        for (version, task) in flow.generated() {
            drawing.arrows.push((task, first + version, Line::Solid));
        }
        for (task, version) in &flow.used {
            drawing.arrows.push((first + version, *task, Line::Solid));
        }
        for (from, to) in &flow.informed {
            drawing.arrows.push((*from, *to, Line::Dashed));
        }
        drawing
    }

    fn add(&mut self, shape: Shape, label: String) {
        self.nodes.push((shape, label));
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
