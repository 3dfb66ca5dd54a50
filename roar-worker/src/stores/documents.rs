//! What the documents say that are sent to a store and come from it: Amazon S3 API Reference,
//! "Actions".

use roar_lineage::s3::strong_etag;
use roxmltree::{Document, Node};

use super::body::Body;

/// Why nothing is known to have been done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Failed {
    /// The answer says that nothing was.
    AsTold,
    /// It cannot be read.
    Perhaps,
}

/// The text of an answer that says it succeeded: some errors come with status 200.
pub(super) fn succeeded(body: Body) -> Result<Vec<u8>, Failed> {
    let text = body.into_text().ok_or(Failed::Perhaps)?;
    let answer = document(&text).ok_or(Failed::Perhaps)?;
    match answer.root_element().tag_name().name() {
        "Error" => Err(Failed::AsTold),
        _ => Ok(text),
    }
}

/// The ETag that an answer tells.
pub(super) fn etag_of(text: &[u8]) -> Option<String> {
    let document = document(text)?;
    let found = document.descendants().find(|node| is(node, "ETag"))?;
    found.text().and_then(strong_etag)
}

/// The parts that an upload is to be completed from: numbers and ETags.
pub(super) fn parts(text: &[u8]) -> Option<Vec<(u64, String)>> {
    let parts = pairs(text, "Part", ["PartNumber", "ETag"])?.into_iter();
    let part = |[number, etag]: [Option<String>; 2]| {
        let number = number?.trim().parse().ok()?;
        Some((number, strong_etag(&etag?)?))
    };
    parts.map(part).collect()
}

/// The keys of all elements with this name, and of each the version that it names.
pub(super) fn keys(text: &[u8], element: &str) -> Option<Vec<(String, Option<String>)>> {
    let keys = pairs(text, element, ["Key", "VersionId"])?.into_iter();
    let key = |[key, version]: [Option<String>; 2]| Some((key?, version));
    Some(keys.filter_map(key).collect())
}

/// Of each element with this name the texts of two that it has.
fn pairs(text: &[u8], element: &str, names: [&str; 2]) -> Option<Vec<[Option<String>; 2]>> {
    let document = document(text)?;
    let found = document.descendants().filter(|node| is(node, element));
    let pair = |node: Node<'_, '_>| {
        names.map(|name| {
            let child = node.children().find(|child| is(child, name))?;
            child.text().map(str::to_owned)
        })
    };
    Some(found.map(pair).collect())
}

fn document(text: &[u8]) -> Option<Document<'_>> {
    // A store may send white space while it works.
    Document::parse(std::str::from_utf8(text).ok()?.trim_start()).ok()
}

fn is(node: &Node<'_, '_>, name: &str) -> bool {
    node.tag_name().name() == name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_its_etag() {
        let text = br#"<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
            <Part><ETag>&quot;a&quot;</ETag><PartNumber>1</PartNumber></Part>
            <Part><PartNumber> 2 </PartNumber><ETag>b</ETag></Part></CompleteMultipartUpload>"#;
        let expected = vec![(1, "a".to_owned()), (2, "b".to_owned())];
        assert_eq!(parts(text), Some(expected));
        let without = b"<C><Part><PartNumber>1</PartNumber></Part></C>";
        assert_eq!(parts(without), None);
        assert_eq!(parts(b"<C><Part>"), None);
    }
}
