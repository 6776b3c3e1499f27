//! Rust as words: enough of its grammar to see what a compiler of an older version would not take.

/// Operators of several characters that would mislead when they are read one character at a time.
const OPERATORS: [&str; 12] = ["..=", "<<=", ">>=", "&&", "||", "=>", "==", "!=", "<=", ">=", "->", "::"];

/// A word or an operator, and its line.
struct Token<'a> {
    line: usize,
    text: &'a str,
}

/// What stands in a text beside comments, lifetimes, and literals of text.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let (length, is_code) = match silent_length(rest) {
            Some(length) => (length, false),
            None if is_word(first) => (word_length(rest), true),
            None => {
                let operator = OPERATORS.iter().find(|operator| rest.starts_with(**operator));
                (operator.map_or(first.len_utf8(), |operator| operator.len()), true)
            }
        };
        let (taken, left) = rest.split_at(length);
        if is_code {
            tokens.push(Token { line, text: taken });
        }
        line += taken.matches('\n').count();
        rest = left;
    }
    tokens
}

/// The length of what `text` begins with, if it is none of the code that is looked at.
fn silent_length(text: &str) -> Option<usize> {
    let white = text.len() - text.trim_start().len();
    if white > 0 {
        return Some(white);
    }
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(comment_length(text));
    }
    let prefix =
        ["br", "cr", "r", "b", "c"].into_iter().find(|prefix| text.starts_with(prefix)).unwrap_or("");
    let literal = &text[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = literal.len() - literal.trim_start_matches('#').len();
        let end = format!("\"{}", "#".repeat(hashes));
        let inner = literal[hashes..].strip_prefix('"')?;
        return Some(text.len() - inner.len() + inner.find(&end).map_or(inner.len(), |at| at + end.len()));
    }
    match literal.chars().next()? {
        '"' => Some(prefix.len() + quoted_length(literal)),
        '\'' if prefix != "c" => Some(prefix.len() + character_length(literal)),
        _ => None,
    }
}

/// The length of a comment that may hold others.
fn comment_length(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let pair = text.as_bytes().get(at..at + 2);
        match pair {
            Some(b"/*") => depth += 1,
            Some(b"*/") => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// The length of a literal that ends with the quote that it begins with.
fn quoted_length(text: &str) -> usize {
    let quote = text.as_bytes()[0];
    let mut is_escaped = false;
    for (at, &byte) in text.as_bytes().iter().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            _ if byte == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a character's literal, or of a lifetime.
fn character_length(text: &str) -> usize {
    let mut after = text.chars().skip(1);
    match (after.next(), after.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => quoted_length(text),
        _ => 1 + word_length(&text[1..]),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word_length(text: &str) -> usize {
    text.find(|c| !is_word(c)).unwrap_or(text.len())
}

/// The lines of conditions that Rust 1.85 does not know: `if let … && …` (1.88), and `if let` as the guard of a match arm (1.95).
pub(crate) fn newer_conditions(text: &str) -> Vec<usize> {
    let tokens = tokens(text);
    let keywords = tokens.iter().enumerate().filter(|(_, token)| matches!(token.text, "if" | "while"));
    keywords.filter(|(at, _)| is_newer(&tokens[at + 1..])).map(|(_, token)| token.line).collect()
}

/// Reads a condition, from its first token to the block or the arrow that it stands before.
fn is_newer(condition: &[Token<'_>]) -> bool {
    let mut depth = 0_usize;
    let (mut has_let, mut has_and, mut in_pattern) = (false, false, false);
    for token in condition {
        match token.text {
            // The braces of a pattern, `Point { x, y }`, do not end the condition.
            "{" if depth == 0 && !in_pattern => return has_let && has_and,
            "=>" if depth == 0 => return has_let,
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" if depth == 0 => return false,
            ")" | "]" | "}" => depth -= 1,
            "let" if depth == 0 => (has_let, in_pattern) = (true, true),
            "=" if depth == 0 => in_pattern = false,
            "&&" if depth == 0 && !in_pattern => has_and = true,
            _ => {}
        }
    }
    false
}

#[test]
fn let_chain_is_told_from_what_looks_like_one() {
    for newer in [
        "if let Some(a) = b && c {}",
        "if a && let Some(b) = c {}",
        "while let Some(a) = b.next()\n    && a > 1\n{}",
        "if let Point { x, .. } = p && x == '{' as u32 {}",
        "else if let Some(a) = f(|b| { b }) && a {}",
        "select! { a = b => if let Some(c) = a && c {} }",
        "match a { Some(b) if let Some(c) = b => {} }",
    ] {
        assert_eq!(newer_conditions(newer), [1], "{newer}");
    }
    for older in [
        "if let Some(a) = b { c && d }",
        "if let Some(a) = b.filter(|b| b.c && b.d) {}",
        "if let Some(a) = { let b = c; b && d } {}",
        "if let (Some(&&a), Some(b)) = (c && d, e) {}",
        "if let Point { x: &&x } = p {}",
        "while a && b { let c = d; }",
        "if a && b { if let Some(c) = d {} }",
        "match a { Some(b) if b && c => if let Some(d) = e {} }",
        "matches!(a, Some(b) if b && c); let d = e;",
        "// if let Some(a) = b && c {",
        "/* /* if let */ if let Some(a) = b && c { */",
        "\"if let Some(a) = \\\" b && c {\"; br#\"if let \" = && {\"#;",
        "if let Some('\"') | Some('\\'') = a::<'b> { \"&&\" }",
    ] {
        assert_eq!(newer_conditions(older), [] as [usize; 0], "{older}");
    }
    assert_eq!(newer_conditions("r#type\n\"\n\"\n/*\n*/if a && let b = c {}"), [5]);
}
