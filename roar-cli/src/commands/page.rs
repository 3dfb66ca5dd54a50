//! The graph as one page of HTML, with its document in it and what draws that.

use std::path::Path;

use roar_lineage::query::Dag;

use crate::output;

const PAGE: &str = include_str!("dag.html");

/// The page.
pub fn of(dag: &Dag, root: &Path) -> String {
    let title = output::one_line(root.as_os_str().as_encoded_bytes());
    let title = title.replace('&', "&amp;").replace('<', "&lt;");
    // Of JSON that names and paths were put in, nothing may end the element around it.
    let document = serde_json::to_string(dag).unwrap_or_default();
    let document = document.replace('<', "\\u003c");
    let (head, rest) = PAGE.split_once("@TITLE@").unwrap_or((PAGE, ""));
    let (middle, tail) = rest.split_once("@DOCUMENT@").unwrap_or((rest, ""));
    [head, &title, middle, &document, tail].concat()
}
