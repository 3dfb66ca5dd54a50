//! Commands as people write them.

use bstr::{BString, ByteSlice};

/// Words as a shell reads them, with U+FFFD for what is not UTF-8.
pub fn command_line(words: &[BString]) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "%+,-./:=@_".contains(letter);
    let quoted = words.iter().map(|word| {
        let word = word.to_str_lossy();
        match !word.is_empty() && word.chars().all(is_plain) {
            true => word.into_owned(),
            false => format!("'{}'", word.replace('\'', r"'\''")),
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_what_a_shell_reads_as_it() {
        let words = ["sh", "-c", "echo 'a' \"$X\" ${Y} > o", "", "Größe", "a=b"];
        let line = command_line(&words.map(BString::from));
        assert_eq!(
            line,
            r#"sh -c 'echo '\''a'\'' "$X" ${Y} > o' '' 'Größe' a=b"#
        );
    }
}
