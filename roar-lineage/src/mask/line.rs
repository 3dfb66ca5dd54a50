//! Lines of a shell: what follows an option in them.

use bstr::ByteSlice;

use super::{MASK, SECRET_OPTIONS, USER_OPTIONS, hides, is_option, is_secret};

/// What an option says of the word that follows.
#[derive(Clone, Copy)]
enum Next<'a> {
    /// It is `user:password`.
    User,
    /// It may be a secret, by the option's name.
    Secret(&'a [u8]),
}

/// A line in which what follows `--password` and the like is masked, and the password of
/// `-u user:password` of curl and wget.
pub(super) fn without_passwords(line: &[u8]) -> Vec<u8> {
    let is_of_curl = line.contains_str("curl") || line.contains_str("wget");
    let mut masked = Vec::with_capacity(line.len());
    let mut quoted = None;
    let mut at = 0;
    while let Some(rest) = line.get(at..).filter(|rest| !rest.is_empty()) {
        let begins = masked.last().is_none_or(|byte| is_between(*byte));
        let option = begins.then(|| option(rest, is_of_curl)).flatten();
        let Some((length, next)) = option else {
            let length = pass(rest, &mut quoted);
            masked.extend_from_slice(rest.get(..length).unwrap_or(rest));
            at += length;
            continue;
        };
        let (option, behind) = rest.split_at_checked(length).unwrap_or((rest, b""));
        let value = behind.get(..end_of_word(behind, quoted)).unwrap_or(behind);
        masked.extend_from_slice(option);
        at += length;
        if let Some(hidden) = next.hidden(value) {
            masked.extend_from_slice(&hidden);
            at += value.len();
        }
    }
    masked
}

fn is_between(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b"\"'".contains(&byte)
}

/// An option that a line begins with, up to the word behind it.
fn option(line: &[u8], is_of_curl: bool) -> Option<(usize, Next<'_>)> {
    let end = line.iter().position(u8::is_ascii_whitespace)?;
    let (name, behind) = line.split_at_checked(end)?;
    let spaces = behind.iter().take_while(|byte| byte.is_ascii_whitespace());
    let length = end + spaces.count();
    if is_of_curl && USER_OPTIONS.contains(&name) {
        return Some((length, Next::User));
    }
    let is_it = is_option(name) && (is_secret(name) || SECRET_OPTIONS.contains(&name));
    is_it.then_some((length, Next::Secret(name)))
}

impl Next<'_> {
    /// A word with what is secret in it masked, if anything is.
    fn hidden(self, word: &[u8]) -> Option<Vec<u8>> {
        let (quote, inner) = unquoted(word);
        match self {
            Self::User => {
                let (user, _) = word.split_once_str(b":")?;
                Some([user, b":", MASK, quote].concat())
            }
            Self::Secret(option) => {
                let is_value = !word.is_empty() && !word.starts_with(b"-") && hides(option, inner);
                let is_secret = is_value && !is_variable(inner);
                is_secret.then(|| [quote, MASK, quote].concat())
            }
        }
    }
}

/// The quote around a word, and what is within.
fn unquoted(word: &[u8]) -> (&[u8], &[u8]) {
    for quote in [&b"\""[..], b"'", b"\\\""] {
        let inner = word.strip_prefix(quote);
        if let Some(inner) = inner.and_then(|inner| inner.strip_suffix(quote)) {
            return (quote, inner);
        }
    }
    (b"", word)
}

/// Whether a word is nothing but a variable, of which the value is not there.
fn is_variable(word: &[u8]) -> bool {
    let name = word.strip_prefix(b"$").unwrap_or_default();
    let braced = name
        .strip_prefix(b"{")
        .and_then(|name| name.strip_suffix(b"}"));
    let name = braced.unwrap_or(name);
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    !name.is_empty() && name.iter().all(is_part)
}

/// How much of a line's beginning is taken at once, and whether it is quoted behind that.
fn pass(line: &[u8], quoted: &mut Option<u8>) -> usize {
    match (*quoted, line) {
        (None | Some(b'"'), [b'\\', _, ..]) => return 2,
        (None, [quote @ (b'"' | b'\''), ..]) => *quoted = Some(*quote),
        (Some(quote), [first, ..]) if quote == *first => *quoted = None,
        _ => {}
    }
    1
}

/// Where a word ends that a line begins with, which is itself within such quotes.
fn end_of_word(line: &[u8], quoted: Option<u8>) -> usize {
    let mut inner = None;
    let mut depth = 0;
    let mut at = 0;
    while let Some(rest) = line.get(at..).filter(|rest| !rest.is_empty()) {
        // Quotes of a line that is quoted itself are written otherwise.
        let (length, quote) = match (quoted, rest) {
            (Some(b'"'), [b'\\', b'"', ..]) => (2, Some(b'"')),
            (Some(b'\''), [b'\'', b'\\', b'\'', b'\'', ..]) => (4, Some(b'\'')),
            (Some(outer), [first, ..]) if outer == *first => return at,
            (_, [b'\\', _, ..]) if inner != Some(b'\'') => (2, None),
            (_, [quote @ (b'"' | b'\''), ..]) => (1, Some(*quote)),
            _ => (1, None),
        };
        match (inner, quote) {
            (Some(open), Some(quote)) if open == quote => inner = None,
            (None, Some(quote)) => inner = Some(quote),
            (None, None) if length == 1 => match rest {
                [b'$', b'(', ..] => depth += 1,
                [b')', ..] if depth > 0 => depth -= 1,
                [first, ..] if depth == 0 && ends_word(*first) => return at,
                _ => {}
            },
            _ => {}
        }
        at += length;
    }
    line.len()
}

fn ends_word(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b";&|<>)".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_behind_an_option_is_masked_whole() {
        for (line, expected) in [
            (
                r#"mc --password s1 x; a --token  's 2' -v"#,
                r#"mc --password *** x; a --token  '***' -v"#,
            ),
            (
                r#"sh -c "a --hf-token s3" && b --secret s4;c --auth-token"#,
                r#"sh -c "a --hf-token ***" && b --secret ***;c --auth-token"#,
            ),
            (
                r#"bash -c "x --token \"s5\" y" z"#,
                r#"bash -c "x --token \"***\" y" z"#,
            ),
            (
                r#"bash -c 'x --token "s 6" y; z --token '\''s 7'\'''"#,
                r#"bash -c 'x --token "***" y; z --token '***''"#,
            ),
            (r#"x --token $'s 8' y"#, r#"x --token *** y"#),
            (r#"x --password a"s 9" y"#, r#"x --password *** y"#),
            (r#"x --password "a\"s1" y"#, r#"x --password "***" y"#),
            ("x --token\ts2 y", "x --token\t*** y"),
            (r#"x --password "$(echo s3)" y"#, r#"x --password "***" y"#),
            (r#"x --password $(echo s4) y"#, r#"x --password *** y"#),
            (r#"x --password ${PW:-s5} y"#, r#"x --password *** y"#),
            (
                r#"curl -u "bob:s6" -u eve:s7;x"#,
                r#"curl -u "bob:***" -u eve:***;x"#,
            ),
        ] {
            assert_eq!(without_passwords(line.as_bytes()).as_bstr(), expected);
        }
    }

    #[test]
    fn what_is_no_value_is_left() {
        for line in [
            r#"a --token "$TOKEN" --password ${PW} --secret --all x"#,
            "docker login --password-stdin < f && make",
            "x --secret; echo hi",
            "a --token && ls",
            "train --max-tokens 5 --tokenizer bert",
            "docker run -u 1:1 x",
        ] {
            assert_eq!(without_passwords(line.as_bytes()).as_bstr(), line);
        }
    }
}
