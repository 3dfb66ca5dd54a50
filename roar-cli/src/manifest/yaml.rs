//! YAML that is read for its meaning and edited as text, so that what is not touched
//! stays as it was: comments, quotes, and numbers that YAML's versions disagree about.
//!
//! What is added is block style where its surroundings are, with JSON for values.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::Value;

/// Deeper nesting than this is refused.
const DEPTH: usize = 100;

/// A part of a document. Positions are bytes of the text.
#[derive(Debug, Clone)]
pub struct Node {
    start: usize,
    end: usize,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Scalar {
        text: String,
        style: ScalarStyle,
    },
    Items(Vec<Node>),
    Entries(Vec<(Node, Node)>),
    /// Stands for something elsewhere.
    Alias,
}

impl Node {
    /// A value of a mapping.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|(_, value)| value)
    }

    fn entry(&self, key: &str) -> Option<(&Self, &Self)> {
        let Content::Entries(entries) = &self.content else {
            return None;
        };
        let found = entries.iter().find(|(name, _)| name.text() == Some(key));
        found.map(|(key, value)| (key, value))
    }

    /// The keys of a mapping.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let entries = match &self.content {
            Content::Entries(entries) => entries.as_slice(),
            _ => &[],
        };
        entries.iter().filter_map(|(key, _)| key.text())
    }

    /// The items of a sequence; of anything else, none.
    pub fn items(&self) -> &[Self] {
        match &self.content {
            Content::Items(items) => items,
            _ => &[],
        }
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether it is a mapping.
    pub fn is_map(&self) -> bool {
        matches!(self.content, Content::Entries(_))
    }

    /// Whether there is nothing.
    pub fn is_null(&self) -> bool {
        let Content::Scalar { text, style } = &self.content else {
            return false;
        };
        *style == ScalarStyle::Plain && ["", "~", "null"].contains(&text.as_str())
    }
}

/// The documents of a text. The error names the line.
pub fn parse(text: &str) -> Result<Vec<Node>, String> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        bytes: text
            .char_indices()
            .map(|(at, _)| at)
            .chain([text.len()])
            .collect(),
    };
    let mut documents = Vec::new();
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => return Ok(documents),
            (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd, _) => {}
            (event, span) => documents.push(reader.node(event, span, DEPTH)?),
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    /// Where each character begins.
    bytes: Vec<usize>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), String> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let line = error.marker().line();
                Err(format!("line {line}: {}", error.info()))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, String> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(format!("line {}: nested too deeply", span.start.line()));
        };
        let byte = |at: usize| self.bytes.get(at).or(self.bytes.last()).copied();
        let start = byte(span.start.index()).unwrap_or(0);
        let end = byte(span.end.index()).unwrap_or(0);
        let content = match event {
            Event::Scalar(text, style, ..) => Content::Scalar {
                text: text.into_owned(),
                style,
            },
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break Content::Items(items),
                        (event, span) => items.push(self.node(event, span, depth)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut entries = Vec::new();
                loop {
                    let key = match self.next()? {
                        (Event::MappingEnd, _) => break Content::Entries(entries),
                        (event, span) => self.node(event, span, depth)?,
                    };
                    let (event, span) = self.next()?;
                    entries.push((key, self.node(event, span, depth)?));
                }
            }
            Event::StreamEnd => return Err("it ends too early".to_owned()),
            _ => Content::Alias,
        };
        Ok(Node {
            start,
            end,
            content,
        })
    }
}

/// Changes to a text.
pub struct Edits<'a> {
    text: &'a str,
    /// Where, how many bytes go, and what comes.
    changes: Vec<(usize, usize, String)>,
}

impl<'a> Edits<'a> {
    /// None yet.
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            changes: Vec::new(),
        }
    }

    /// The text with all changes.
    pub fn apply(mut self) -> String {
        self.changes.sort_by_key(|(at, ..)| *at);
        let mut text = String::new();
        let mut done = 0;
        for (at, length, new) in &self.changes {
            text.push_str(self.text.get(done..*at).unwrap_or(""));
            text.push_str(new);
            done = done.max(at + length);
        }
        text.push_str(self.text.get(done..).unwrap_or(""));
        text
    }

    /// Gives a key of a mapping a value, whatever it had.
    pub fn add(&mut self, map: &Node, key: &str, value: &Value) -> Result<(), String> {
        match map.entry(key) {
            Some((name, old)) => {
                let (at, end) = self.range(name, old)?;
                self.changes.push((at, end - at, format!(" {value}")));
                Ok(())
            }
            None => self.add_entry(map, key, &value.to_string(), "\n"),
        }
    }

    /// Gives a key of a mapping a text, written as a block where the mapping is one.
    pub fn set_text(&mut self, map: &Node, key: &str, new: &str) -> Result<(), String> {
        if self.is_flow(map) {
            return self.add(map, key, &new.into());
        }
        let column = self.column(first_key(map)?.start);
        let indent = " ".repeat(column + 2);
        // An indentation of its own has to be told from that of the block.
        let mut block = String::from(if new.starts_with([' ', '\n']) {
            "|2"
        } else {
            "|"
        });
        for line in new.lines() {
            block.push('\n');
            if !line.is_empty() {
                block.push_str(&indent);
                block.push_str(line);
            }
        }
        match map.entry(key) {
            Some((name, old)) => {
                let (at, end) = self.range(name, old)?;
                self.changes.push((at, end - at, format!(" {block}")));
                Ok(())
            }
            None => self.add_entry(map, key, &block, "\n"),
        }
    }

    /// Adds items to the front of a sequence in a mapping, which is made if there is none.
    pub fn add_items(&mut self, map: &Node, key: &str, items: &[Value]) -> Result<(), String> {
        if items.is_empty() {
            return Ok(());
        }
        let inline: Vec<String> = items.iter().map(Value::to_string).collect();
        let inline = inline.join(", ");
        let Some((name, old)) = map.entry(key) else {
            if self.is_flow(map) {
                return self.add_entry(map, key, &format!("[{inline}]"), "");
            }
            let column = self.column(first_key(map)?.start);
            let block = self.block(items, column);
            let indent = " ".repeat(column);
            let block = format!("\n{indent}{}", block.trim_end());
            return self.add_entry(map, key, &block, "\n");
        };
        let Content::Items(present) = &old.content else {
            if !old.is_null() {
                return Err(format!("{key} is no list"));
            }
            let (at, end) = self.range(name, old)?;
            self.changes.push((at, end - at, format!(" [{inline}]")));
            return Ok(());
        };
        if self.is_flow(old) {
            let comma = if present.is_empty() { "" } else { ", " };
            self.changes
                .push((old.start + 1, 0, format!("{inline}{comma}")));
            return Ok(());
        }
        let first = present.first().map_or(old.end, |first| first.start);
        let before = self.text.get(..first).unwrap_or("");
        let dash = before
            .char_indices()
            .rev()
            .find(|(at, letter)| {
                let next = before.get(at + 1..).and_then(|rest| rest.chars().next());
                *letter == '-' && next.is_none_or(char::is_whitespace)
            })
            .map(|(at, _)| at)
            .ok_or_else(|| format!("{key} is no list"))?;
        let block = self.block(items, self.column(dash));
        self.changes.push((dash, 0, block));
        Ok(())
    }

    /// Adds an entry before the first one of a mapping, its key quoted as that one's.
    fn add_entry(&mut self, map: &Node, key: &str, value: &str, end: &str) -> Result<(), String> {
        let is_quoted = |first: &Node| self.text.as_bytes().get(first.start) == Some(&b'"');
        let quote = first_key(map).is_ok_and(is_quoted).then_some("\"");
        let quote = quote.unwrap_or_default();
        let space = if value.starts_with('\n') { "" } else { " " };
        let entry = format!("{quote}{key}{quote}:{space}{value}");
        if self.is_flow(map) {
            let Content::Entries(entries) = &map.content else {
                return Err("it is no mapping".to_owned());
            };
            let comma = if entries.is_empty() { "" } else { ", " };
            self.changes
                .push((map.start + 1, 0, format!("{entry}{comma}")));
            return Ok(());
        }
        let first = first_key(map)?.start;
        let indent = " ".repeat(self.column(first));
        self.changes
            .push((first, 0, format!("{entry}{end}{indent}")));
        Ok(())
    }

    /// Items as a block whose dashes are in that column; the first one is there already.
    fn block(&self, items: &[Value], column: usize) -> String {
        let indent = " ".repeat(column);
        let mut block = String::new();
        for item in items {
            let mut lead = "- ".to_owned();
            for (key, value) in item.as_object().into_iter().flatten() {
                block.push_str(&format!("{lead}{key}: {value}\n{indent}"));
                lead = "  ".to_owned();
            }
        }
        block
    }

    /// From behind a key's colon to the end of its value, which is a scalar.
    fn range(&self, key: &Node, value: &Node) -> Result<(usize, usize), String> {
        let name = key.text().unwrap_or("");
        let Content::Scalar { style, .. } = &value.content else {
            return Err(format!("{name} is not a text"));
        };
        let rest = self.text.get(key.end..).unwrap_or("");
        let colon = rest.find(':').map(|at| key.end + at + 1);
        let colon = colon.ok_or_else(|| format!("{name} has no value"))?;
        if value.is_null() && value.end <= value.start {
            return Ok((colon, colon));
        }
        if !matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) {
            return Ok((colon, value.end));
        }
        // Up to the last line that is indented deeper than the key.
        let column = self.column(key.start);
        let rest = self.text.get(colon..).unwrap_or("");
        let mut end = colon;
        let mut at = colon;
        for (no, line) in rest.split_inclusive('\n').enumerate() {
            let is_blank = line.trim().is_empty();
            let indent = line.len() - line.trim_start_matches(' ').len();
            if no > 0 && !is_blank && indent <= column {
                break;
            }
            at += line.len();
            if !is_blank {
                end = at - (line.len() - line.trim_end_matches(['\r', '\n']).len());
            }
        }
        Ok((colon, end))
    }

    fn is_flow(&self, node: &Node) -> bool {
        let first = self.text.as_bytes().get(node.start);
        match node.content {
            Content::Entries(_) => first == Some(&b'{'),
            Content::Items(_) => first == Some(&b'['),
            _ => false,
        }
    }

    fn column(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or("");
        let line = before.rfind('\n').map_or(0, |end| end + 1);
        before.get(line..).unwrap_or("").chars().count()
    }
}

fn first_key(map: &Node) -> Result<&Node, String> {
    match &map.content {
        Content::Entries(entries) => entries.first().map(|(key, _)| key),
        _ => None,
    }
    .ok_or_else(|| "an empty mapping cannot be edited".to_owned())
}
