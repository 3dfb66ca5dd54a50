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
    let mut page = String::with_capacity(PAGE.len() + document.len());
    for (index, part) in PAGE.split("@DOCUMENT@").enumerate() {
        if index > 0 {
            page.push_str(&document);
        }
        page.push_str(&part.replace("@TITLE@", &title));
    }
    page
}
