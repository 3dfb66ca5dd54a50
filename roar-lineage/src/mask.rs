//! Credentials are masked before anything is written: in arguments, and in URLs inside
//! of them.

mod line;

use bstr::{BString, ByteSlice, ByteVec};

use line::without_passwords;

const MASK: &[u8] = b"***";

/// Words that mark the name of an option or variable as holding a secret.
const SECRET_WORDS: &[&[u8]] = &[
    b"password",
    b"passwd",
    b"secret",
    b"api-key",
    b"api_key",
    b"apikey",
    b"access-key",
    b"access_key",
    b"accesskey",
    b"account-key",
    b"account_key",
    b"accountkey",
    b"credential",
    b"signature",
    b"private-key",
    b"private_key",
    b"authorization",
    b"bearer",
    b"passphrase",
];

/// Names of headers that say who somebody is, beside those with a secret's word.
const SECRET_HEADERS: &[&[u8]] = &[b"cookie", b"x-auth", b"x-auth-key"];

/// Programs whose `-p` is followed by a password, with or without a space.
const PASSWORD_PROGRAMS: &[&[u8]] = &[b"mysql", b"mariadb", b"sshpass"];

/// Options of curl and wget that are followed by `user:password`.
const USER_OPTIONS: &[&[u8]] = &[b"-u", b"-U", b"--user", b"--proxy-user"];

/// Options that are followed by a secret, beside those with a secret's word.
const SECRET_OPTIONS: &[&[u8]] = &[b"--auth", b"--pass"];

/// Whether something in an argument is masked.
pub fn is_masked(argument: &[u8]) -> bool {
    argument.contains_str(MASK)
}

/// Arguments with credentials replaced by `***`: values of options, variables, headers and
/// JSON keys whose name says that they are secret, the user part of URLs, signatures in query
/// strings.
pub fn arguments<A: AsRef<[u8]>>(argv: &[A]) -> Vec<BString> {
    let mut hide_next = None;
    let mut names_user = false;
    let program = argv.first().map(|program| program.as_ref());
    let program = program.and_then(|program| program.rsplit_str(b"/").next());
    let has_password = program.is_some_and(|program| {
        PASSWORD_PROGRAMS
            .iter()
            .any(|name| program.starts_with(name))
    });
    argv.iter()
        .map(|argument| {
            let argument = argument.as_ref();
            let is_hidden = |option: &[u8]| !argument.starts_with(b"-") && hides(option, argument);
            if hide_next.take().is_some_and(is_hidden) {
                return BString::from(MASK);
            }
            let hides_password =
                std::mem::replace(&mut names_user, USER_OPTIONS.contains(&argument));
            if let (true, Some((user, _))) = (hides_password, argument.split_once_str(b":")) {
                return [user, b":", MASK].concat().into();
            }
            if let (true, Some(password)) = (has_password, argument.strip_prefix(b"-p")) {
                let is_next = password.is_empty() && program == Some(b"sshpass");
                hide_next = is_next.then_some(&b"--pass"[..]);
                let shown: &[u8] = if password.is_empty() { b"" } else { MASK };
                return [&b"-p"[..], shown].concat().into();
            }
            hide_next = is_option(argument).then_some(argument);
            one(&without_headers(&without_passwords(argument)))
        })
        .collect()
}

/// A text in which the values of headers (`Name: value`, up to a quote or the line's end) are
/// masked whose name says that they are secret.
fn without_headers(text: &[u8]) -> Vec<u8> {
    let mut masked = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once_str(b":") {
        masked.extend_from_slice(before);
        masked.push(b':');
        rest = after;
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
        let name = before.iter().rev().take_while(|byte| is_part(byte)).count();
        let (prefix, name) = before.split_at(before.len() - name);
        let begins = prefix.last().is_none_or(|byte| b" \n\"'=".contains(byte));
        let value = rest.trim_start_with(|c| c == ' ');
        if !begins || !is_secret_header(name) || value.starts_with(b"//") {
            continue;
        }
        let (spaces, value) = rest.split_at(rest.len() - value.len());
        let end = value.find_byteset(b"\"'\n").unwrap_or(value.len());
        let (value, behind) = value.split_at(end);
        masked.extend_from_slice(spaces);
        if !value.is_empty() {
            masked.extend_from_slice(MASK);
        }
        rest = behind;
    }
    masked.extend_from_slice(rest);
    masked
}

fn is_secret_header(name: &[u8]) -> bool {
    let lower = name.to_ascii_lowercase();
    is_secret(name) || SECRET_HEADERS.iter().any(|name| lower.ends_with(name))
}

fn one(argument: &[u8]) -> BString {
    let mut masked = BString::default();
    let mut at = Json::Elsewhere;
    let mut before = b' ';
    for word in argument.split_inclusive(|b| b" &;?\n\"'".contains(b)) {
        at = at.after(word);
        match at {
            Json::Value(_) => {}
            Json::Begin(_) => masked.push_str([word, MASK].concat()),
            Json::End(quote) => masked.push(quote),
            Json::Name | Json::Elsewhere => {
                masked.push_str(without_user(&without_value(word, before)));
            }
        }
        before = word.last().copied().unwrap_or(before);
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

/// `NAME=value` or `--name=value` with the value masked when the name is a secret's; so is
/// that of `sig` in a query string (Azure's signature), which `before` stands before.
fn without_value(word: &[u8], before: u8) -> Vec<u8> {
    let Some((name, value)) = word.split_once_str(b"=") else {
        return word.to_vec();
    };
    let is_signature = b"?&".contains(&before) && name.eq_ignore_ascii_case(b"sig");
    let end: &[u8] = match value.last() {
        Some(last) if b" &;?\n\"'".contains(last) => std::slice::from_ref(last),
        _ => b"",
    };
    let is_secret = is_signature || hides(name, value.strip_suffix(end).unwrap_or(value));
    if value.is_empty() || name.len() > 64 || !is_secret {
        return word.to_vec();
    }
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

/// Whether something is an option whose value is the next word.
fn is_option(word: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let name = word.strip_prefix(b"--");
    name.is_some_and(|name| name.iter().all(is_part) && !name.ends_with(b"-stdin"))
}

/// Whether what has this name, an option's or a variable's, is a secret with this value: neither
/// a number of tokens nor a directory is.
fn hides(name: &[u8], value: &[u8]) -> bool {
    let lower = name.to_ascii_lowercase();
    if SECRET_OPTIONS.contains(&name) || has_secret_word(&lower) {
        return true;
    }
    let is_number = value
        .iter()
        .all(|byte| byte.is_ascii_digit() || b".,_".contains(byte));
    let is_count = lower.contains_str("tokens") || lower.ends_with(b"token_id");
    let is_directory = value.first().is_some_and(|first| b"/.~".contains(first));
    has_token(&lower) && !(is_count && is_number) || lower.ends_with(b"_pwd") && !is_directory
}

fn is_secret(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    has_secret_word(&name) || has_token(&name)
}

fn has_secret_word(name: &[u8]) -> bool {
    SECRET_WORDS.iter().any(|word| name.contains_str(word))
}

/// A tokenizer has none.
fn has_token(name: &[u8]) -> bool {
    let is_token = |at: usize| {
        let behind = name.get(at + b"token".len()..).unwrap_or_default();
        !behind.starts_with(b"iz") && !behind.starts_with(b"is")
    };
    name.find_iter(b"token").any(is_token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_passwords_of_programs_are_masked() {
        let masked = |argv: &[&str]| -> Vec<String> {
            arguments(argv).iter().map(ToString::to_string).collect()
        };
        let curl = [
            "curl",
            "-H",
            "Authorization: Bearer h1",
            "-HX-Api-Key:h2",
            "http://h:80/a",
        ];
        assert_eq!(
            masked(&curl)[2..],
            ["Authorization: ***", "-HX-Api-Key:***", "http://h:80/a"]
        );
        let others = [
            "sh",
            "curl -H 'Cookie: s=h3; t=h4' -H \"Accept: text/html\" x",
            "http.extraheader=AUTHORIZATION: basic h5",
            "--header=Private-Token: h6",
            "https://token:8080/x",
            "/data/token:1",
            "--auth",
            "h7",
            "-p",
            "8",
        ];
        assert_eq!(
            masked(&others)[1..],
            [
                "curl -H 'Cookie: ***' -H \"Accept: text/html\" x",
                "http.extraheader=AUTHORIZATION: ***",
                "--header=Private-Token: ***",
                "https://token:8080/x",
                "/data/token:1",
                "--auth",
                "***",
                "-p",
                "8",
            ]
        );
        assert_eq!(
            masked(&["/usr/bin/mysqldump", "-ph8", "db"])[1..],
            ["-p***", "db"]
        );
        assert_eq!(
            masked(&["sshpass", "-p", "h9", "ssh"])[1..],
            ["-p", "***", "ssh"]
        );
    }

    #[test]
    fn signatures_passes_and_users_in_a_shells_words_are_masked() {
        for (argument, expected) in [
            (
                "https://a.blob/x?sv=1&sig=s1%3D&se=2",
                "https://a.blob/x?sv=1&sig=***&se=2",
            ),
            (
                "azcopy cp 'https://a/x?SIG=s2' b",
                "azcopy cp 'https://a/x?SIG=***' b",
            ),
            ("sig=9", "sig=9"),
            (
                "https://a/?design=1&config=2",
                "https://a/?design=1&config=2",
            ),
            ("--pass=s3", "--pass=***"),
            ("--pass-through=1", "--pass-through=1"),
            ("curl -u bob:s4 http://h:80", "curl -u bob:*** http://h:80"),
            (
                "curl --user  'bob:s 5' -o x;y",
                "curl --user  'bob:***' -o x;y",
            ),
            (
                "sh -c 'curl -u bob:s6' && ls a:b",
                "sh -c 'curl -u bob:***' && ls a:b",
            ),
            ("curl -u\n\"bob:s7\"", "curl -u\n\"bob:***\""),
            ("sudo -u bob ls a:b", "sudo -u bob ls a:b"),
            ("docker run -u 1:1 x", "docker run -u 1:1 x"),
            (
                "MYSQL_PWD=s14 a 'AccountName=x;AccountKey=s15=='",
                "MYSQL_PWD=*** a 'AccountName=x;AccountKey=***'",
            ),
        ] {
            assert_eq!(arguments(&["sh", argument])[1], expected);
        }
        assert_eq!(
            arguments(&["x", "--pass", "s8", "y"])[1..],
            ["--pass", "***", "y"]
        );
        assert_eq!(arguments(&["x", "--pass", "--y"])[1..], ["--pass", "--y"]);
        let counted = [
            "x",
            "--max_tokens",
            "5",
            "--tokenizer",
            "bert",
            "--password-stdin",
            "y",
        ];
        assert_eq!(arguments(&counted), counted);
        let known = ["--pad_token_id=0", "MAX_TOKENS=4_096", "HOST_PWD=/home/u"];
        assert_eq!(arguments(&known), known);
        assert_eq!(
            arguments(&[
                "x",
                "--auth-tokens",
                "s1",
                "API_TOKENS=s2",
                "authTokenValue=s3"
            ])[1..],
            [
                "--auth-tokens",
                "***",
                "API_TOKENS=***",
                "authTokenValue=***"
            ]
        );
    }

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
