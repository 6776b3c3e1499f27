//! A pull reader of JSON text.

use std::borrow::Cow;

use crate::{frame::limits::MAX_JSON_DEPTH, message::MessageError};

/// Reads values from the front of a text.
#[derive(Debug, Clone)]
pub(in crate::message) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

/// A value; what is not a scalar stays text.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::message) enum Value<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    String(Cow<'a, str>),
    Object(&'a str),
    Array(&'a str),
}

impl Value<'_> {
    /// A whole number that is not negative, written in digits only; `u64::MAX` for all above it.
    pub(in crate::message) fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Number(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                // Digits alone fail to parse only when they pass the largest number.
                Some(digits.parse().unwrap_or(u64::MAX))
            }
            _ => None,
        }
    }
}

/// How far the members of an object, or the elements of an array, were read.
#[derive(Debug)]
pub(in crate::message) struct Members {
    first: bool,
}

/// Fills `slot`, once.
pub(in crate::message) fn once<T>(
    slot: &mut Option<T>,
    field: &'static str,
    value: T,
) -> Result<(), MessageError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(MessageError::RepeatedKey(field)),
    }
}

impl<'a> Reader<'a> {
    pub(in crate::message) fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// The byte that the next value begins with.
    pub(in crate::message) fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let space = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).count();
        self.at += space;
        rest.get(space).copied()
    }

    /// Enters the object that comes next.
    pub(in crate::message) fn enter_object(&mut self) -> Result<Members, MessageError> {
        self.enter(b'{', "an object")
    }

    /// Enters the array that comes next.
    pub(in crate::message) fn enter_array(&mut self) -> Result<Members, MessageError> {
        self.enter(b'[', "an array")
    }

    /// The next key of an object that was entered, with its value next; `None` at its end.
    pub(in crate::message) fn next_key(
        &mut self,
        members: &mut Members,
    ) -> Result<Option<Cow<'a, str>>, MessageError> {
        if !self.next_member(members, b'}')? {
            return Ok(None);
        }
        let key = self.string()?;
        self.expect(b':', "a colon")?;
        Ok(Some(key))
    }

    /// Whether an array that was entered has one more element, which is next then.
    pub(in crate::message) fn next_element(&mut self, members: &mut Members) -> Result<bool, MessageError> {
        self.next_member(members, b']')
    }

    /// The string that comes next.
    pub(in crate::message) fn string(&mut self) -> Result<Cow<'a, str>, MessageError> {
        self.expect(b'"', "a string")?;
        let start = self.at;
        self.at += plain_len(&self.text.as_bytes()[start..]);
        if self.byte() == Some(b'"') {
            let text = &self.text[start..self.at];
            self.at += 1;
            return Ok(Cow::Borrowed(text));
        }
        let mut text = String::from(&self.text[start..self.at]);
        self.string_rest(&mut text)?;
        Ok(Cow::Owned(text))
    }

    /// The value that comes next, all of it checked.
    pub(in crate::message) fn value(&mut self) -> Result<Value<'a>, MessageError> {
        Ok(match self.peek() {
            Some(b'"') => Value::String(self.string()?),
            Some(b'{') => Value::Object(self.skip()?),
            Some(b'[') => Value::Array(self.skip()?),
            Some(b't') => self.literal("true", Value::Bool(true))?,
            Some(b'f') => self.literal("false", Value::Bool(false))?,
            Some(b'n') => self.literal("null", Value::Null)?,
            _ => Value::Number(self.number()?),
        })
    }

    /// The text of the value that comes next, all of it checked.
    pub(in crate::message) fn skip(&mut self) -> Result<&'a str, MessageError> {
        match self.peek() {
            Some(b'{') => {
                let start = self.at;
                let mut members = self.enter_object()?;
                while self.next_key(&mut members)?.is_some() {
                    self.skip()?;
                }
                Ok(&self.text[start..self.at])
            }
            Some(b'[') => {
                let start = self.at;
                let mut members = self.enter_array()?;
                while self.next_element(&mut members)? {
                    self.skip()?;
                }
                Ok(&self.text[start..self.at])
            }
            _ => {
                let start = self.at;
                self.value()?;
                Ok(&self.text[start..self.at])
            }
        }
    }

    /// Reads an array of two strings that is written without space and without escapes, as most are. `None`: it is not, and
    /// nothing was read.
    pub(in crate::message) fn plain_pair(&mut self) -> Option<(&'a str, &'a str)> {
        let rest = &self.text[self.at..];
        if self.depth >= MAX_JSON_DEPTH {
            return None;
        }
        let (first, rest) = split_plain(rest.strip_prefix("[\"")?)?;
        let (second, rest) = split_plain(rest.strip_prefix("\",\"")?)?;
        let rest = rest.strip_prefix("\"]")?;
        self.at = self.text.len() - rest.len();
        Some((first, second))
    }

    /// Looks for a member of the object that comes next and stays before that object.
    pub(in crate::message) fn find(&self, wanted: &str) -> Result<Option<Value<'a>>, MessageError> {
        let mut ahead = self.clone();
        let mut members = ahead.enter_object()?;
        while let Some(key) = ahead.next_key(&mut members)? {
            if key == wanted {
                return ahead.value().map(Some);
            }
            ahead.skip()?;
        }
        Ok(None)
    }

    /// Nothing but space may be left.
    pub(in crate::message) fn end(&mut self) -> Result<(), MessageError> {
        if self.peek().is_none() { Ok(()) } else { Err(self.expected("the end of the message")) }
    }

    fn expected(&self, what: &'static str) -> MessageError {
        MessageError::NotJson { expected: what, at: self.at }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), MessageError> {
        if self.peek() != Some(byte) {
            return Err(self.expected(what));
        }
        self.at += 1;
        Ok(())
    }

    fn enter(&mut self, open: u8, what: &'static str) -> Result<Members, MessageError> {
        self.expect(open, what)?;
        self.depth += 1;
        if self.depth > MAX_JSON_DEPTH {
            return Err(MessageError::TooDeep);
        }
        Ok(Members { first: true })
    }

    fn next_member(&mut self, members: &mut Members, close: u8) -> Result<bool, MessageError> {
        if self.peek() == Some(close) {
            self.at += 1;
            self.depth -= 1;
            return Ok(false);
        }
        if !std::mem::take(&mut members.first) {
            self.expect(b',', "a comma or the end of the object or array")?;
        }
        Ok(true)
    }

    fn literal(&mut self, word: &'static str, value: Value<'a>) -> Result<Value<'a>, MessageError> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.expected("a value"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn number(&mut self) -> Result<&'a str, MessageError> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        match self.byte() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return Err(self.expected("a value")),
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<(), MessageError> {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return Err(self.expected("a digit"));
        }
        self.at += count;
        Ok(())
    }

    /// The rest of a string that has escapes, or an error.
    fn string_rest(&mut self, text: &mut String) -> Result<(), MessageError> {
        loop {
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    text.push(self.escape()?);
                }
                _ => return Err(self.expected("a string without control characters and its closing quote")),
            }
            let start = self.at;
            self.at += plain_len(&self.text.as_bytes()[start..]);
            text.push_str(&self.text[start..self.at]);
        }
    }

    fn escape(&mut self) -> Result<char, MessageError> {
        let escaped = match self.byte() {
            Some(mark @ (b'"' | b'\\' | b'/')) => char::from(mark),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.code_point();
            }
            _ => return Err(self.expected("an escape")),
        };
        self.at += 1;
        Ok(escaped)
    }

    /// The code point of one `\u` escape, or of the two of a surrogate pair; the first `\u` is behind.
    fn code_point(&mut self) -> Result<char, MessageError> {
        let at = self.at;
        let first = self.hex()?;
        if let Some(scalar) = char::from_u32(first) {
            return Ok(scalar);
        }
        let lone = MessageError::LoneSurrogate { at };
        if first >= 0xDC00 || !self.text[self.at..].starts_with("\\u") {
            return Err(lone);
        }
        self.at += 2;
        let second = self.hex()?;
        if !(0xDC00..=0xDFFF).contains(&second) {
            return Err(lone);
        }
        let scalar = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        Ok(char::from_u32(scalar).expect("a surrogate pair is a scalar value"))
    }

    fn hex(&mut self) -> Result<u32, MessageError> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4);
        let mut value = 0;
        for &digit in digits.ok_or_else(|| self.expected("four hex digits"))? {
            let digit = char::from(digit).to_digit(16).ok_or_else(|| self.expected("four hex digits"))?;
            value = value << 4 | digit;
        }
        self.at += 4;
        Ok(value)
    }
}

/// Splits where a string without escapes ends, or goes on otherwise.
fn split_plain(text: &str) -> Option<(&str, &str)> {
    text.split_at_checked(plain_len(text.as_bytes()))
}

/// How many bytes at the front of `bytes` stand for themselves in a string: no quote, backslash or control.
/// Eight at a time, because header values are most of what a host reads.
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    for (index, word) in bytes.chunks_exact(8).enumerate() {
        let word = u64::from_le_bytes(word.try_into().expect("a chunk of eight bytes"));
        let quote = below(word ^ (ONES * u64::from(b'"')), 1);
        let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
        let found = (below(word, 0x20) | quote | backslash) & HIGH;
        if found != 0 {
            // Of the marks found the lowest is exact: a borrow only runs upwards.
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let tail = bytes.len() / 8 * 8;
    tail + bytes[tail..].iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)).count()
}
