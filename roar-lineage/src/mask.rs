//! Credentials are masked before anything is written: in arguments, and in URLs inside
//! of them.

use bstr::{BString, ByteSlice, ByteVec};

const MASK: &[u8] = b"***";

/// Words that mark the name of an option or variable as holding a secret.
const SECRET_WORDS: &[&[u8]] = &[
    b"password",
    b"passwd",
    b"token",
    b"secret",
    b"api-key",
    b"api_key",
    b"apikey",
    b"access-key",
    b"access_key",
    b"credential",
    b"signature",
    b"private-key",
    b"private_key",
];

/// Options of curl and wget that are followed by `user:password`.
const USER_OPTIONS: &[&[u8]] = &[b"-u", b"-U", b"--user", b"--proxy-user"];

/// Arguments with credentials replaced by `***`: values of options, variables and JSON
/// keys whose name says that they are secret, the user part of URLs, signatures in query
/// strings.
pub fn arguments<A: AsRef<[u8]>>(argv: &[A]) -> Vec<BString> {
    let mut hide_next = false;
    let mut names_user = false;
    argv.iter()
        .map(|argument| {
            let argument = argument.as_ref();
            if std::mem::take(&mut hide_next) && !argument.starts_with(b"-") {
                return BString::from(MASK);
            }
            let hides_password =
                std::mem::replace(&mut names_user, USER_OPTIONS.contains(&argument));
            if let (true, Some((user, _))) = (hides_password, argument.split_once_str(b":")) {
                return [user, b":", MASK].concat().into();
            }
            hide_next = is_option(argument) && !argument.contains(&b'=') && is_secret(argument);
            one(argument)
        })
        .collect()
}

fn one(argument: &[u8]) -> BString {
    let mut masked = BString::default();
    let mut at = Json::Elsewhere;
    for word in argument.split_inclusive(|b| b" &;?\n\"'".contains(b)) {
        at = at.after(word);
        match at {
            Json::Value(_) => {}
            Json::Begin(_) => masked.push_str([word, MASK].concat()),
            Json::End(quote) => masked.push(quote),
            Json::Name | Json::Elsewhere => {
                masked.push_str(without_user(&without_value(word)));
            }
        }
    }
    masked
}

/// Where the end of a word is in `"name": "value"`, if the name is a secret's.
#[derive(Clone, Copy)]
enum Json {
    Elsewhere,
    /// Behind the name, or what is between it and the value.
    Name,
    /// Behind the quote, which is this, that the value begins with.
    Begin(u8),
    Value(u8),
    /// Behind the one that it ends with.
    End(u8),
}

impl Json {
    fn after(self, word: &[u8]) -> Self {
        let quote = word.last().copied().filter(|last| b"\"'".contains(last));
        match (self, quote) {
            (Self::Begin(own) | Self::Value(own), Some(quote))
                if own == quote && !word.ends_with(&[b'\\', quote]) =>
            {
                Self::End(quote)
            }
            (Self::Begin(own) | Self::Value(own), _) => Self::Value(own),
            (Self::Name, _) if word.iter().all(|b| b": \n".contains(b)) => Self::Name,
            (Self::Name, Some(quote)) if is_between(word) => Self::Begin(quote),
            (_, Some(_)) if is_secret(word) => Self::Name,
            _ => Self::Elsewhere,
        }
    }
}

/// Whether there is nothing in a word but a colon, space and the quote at its end.
fn is_between(word: &[u8]) -> bool {
    let (_, rest) = word.split_last().unwrap_or((&0, &[]));
    rest.iter().all(|b| b": ".contains(b))
}

/// `NAME=value` or `--name=value` with the value masked when the name is a secret's.
fn without_value(word: &[u8]) -> Vec<u8> {
    let Some((name, value)) = word.split_once_str(b"=") else {
        return word.to_vec();
    };
    if value.is_empty() || name.len() > 64 || !is_secret(name) {
        return word.to_vec();
    }
    let end: &[u8] = match value.last() {
        Some(last) if b" &;?\n\"'".contains(last) => std::slice::from_ref(last),
        _ => b"",
    };
    [name, b"=", MASK, end].concat()
}

/// A URL without `user:password@`.
fn without_user(word: &[u8]) -> Vec<u8> {
    let Some((scheme, rest)) = word.split_once_str(b"://") else {
        return word.to_vec();
    };
    let authority = rest.split(|b| *b == b'/').next().unwrap_or(rest);
    match authority.rsplit_once_str(b"@") {
        Some((user, host)) if !user.is_empty() => {
            let tail = rest.get(authority.len()..).unwrap_or_default();
            [scheme, b"://", MASK, b"@", host, tail].concat()
        }
        _ => word.to_vec(),
    }
}

fn is_option(argument: &[u8]) -> bool {
    argument.starts_with(b"--")
}

fn is_secret(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.find(word).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_the_rest_is_kept() {
        let argv = [
            "curl",
            "--password",
            "hunter2",
            "--token=abc",
            "-o",
            "out.txt",
            "https://me:pw@host/x?X-Amz-Signature=deadbeef&n=1",
            "AWS_SECRET_ACCESS_KEY=xyz",
            "a=b",
            "-u",
            "me:hunter2",
            "sh -c 'API_KEY=1 run in.txt'",
            r#"{"AWS_SECRET_ACCESS_KEY": "a b\"c'", "token":"", "max_tokens": 5, "x":"y"}"#,
            "{'my_password':'a \" b'}",
        ];
        let masked: Vec<String> = arguments(&argv).iter().map(ToString::to_string).collect();
        assert_eq!(
            masked,
            [
                "curl",
                "--password",
                "***",
                "--token=***",
                "-o",
                "out.txt",
                "https://***@host/x?X-Amz-Signature=***&n=1",
                "AWS_SECRET_ACCESS_KEY=***",
                "a=b",
                "-u",
                "me:***",
                "sh -c 'API_KEY=*** run in.txt'",
                r#"{"AWS_SECRET_ACCESS_KEY": "***", "token":"***", "max_tokens": 5, "x":"y"}"#,
                "{'my_password':'***'}",
            ]
        );
    }
}
