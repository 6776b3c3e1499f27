//! The fields of a payload that is not on the hot path.

use std::borrow::Cow;

use serde_json::Map;

use super::{
    MessageError,
    json::{Reader, Value},
};

/// The fields of one object that its reader defines, each at most once.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    known: Vec<(&'static str, Value<'a>)>,
    unknown: Option<Cow<'a, str>>,
}

impl<'a> Fields<'a> {
    /// Reads the object that comes next. Of the fields that are not `defined` only the first name is kept.
    pub(super) fn read(reader: &mut Reader<'a>, defined: &[&'static str]) -> Result<Self, MessageError> {
        let mut fields = Self { known: Vec::new(), unknown: None };
        let mut members = reader.enter_object()?;
        while let Some(key) = reader.next_key(&mut members)? {
            let Some(&name) = defined.iter().find(|name| **name == key) else {
                reader.skip()?;
                fields.unknown.get_or_insert(key);
                continue;
            };
            if fields.known.iter().any(|(known, _)| *known == name) {
                return Err(MessageError::RepeatedKey(name));
            }
            let value = reader.value()?;
            fields.known.push((name, value));
        }
        Ok(fields)
    }

    /// Takes a field, which may be null.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Value<'a>> {
        let at = self.known.iter().position(|(known, _)| *known == name)?;
        Some(self.known.swap_remove(at).1)
    }

    /// The name of a field that is not defined, or was not taken.
    pub(super) fn left_over(&self) -> Option<&str> {
        self.known.first().map(|(name, _)| *name).or(self.unknown.as_deref())
    }

    /// Takes a string that may be absent or null.
    pub(super) fn string(&mut self, field: &'static str) -> Result<Option<String>, MessageError> {
        match self.take(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.into_owned())),
            Some(_) => Err(MessageError::WrongType { field, expected: "a string" }),
        }
    }

    /// Takes a string.
    pub(super) fn required_string(&mut self, field: &'static str) -> Result<String, MessageError> {
        self.string(field)?.ok_or(MessageError::MissingField(field))
    }

    /// Takes a whole number that may be absent or null.
    pub(super) fn number(&mut self, field: &'static str) -> Result<Option<u64>, MessageError> {
        match self.take(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) => Ok(Some(number)),
                None => Err(MessageError::WrongType { field, expected: "a whole number, not negative" }),
            },
        }
    }

    /// Takes a free-form object; absent or null, it is empty.
    pub(super) fn map(
        &mut self,
        field: &'static str,
    ) -> Result<Map<String, serde_json::Value>, MessageError> {
        let wrong = MessageError::WrongType { field, expected: "an object" };
        match self.take(field) {
            None | Some(Value::Null) => Ok(Map::new()),
            // What is left to fail is a number that no f64 holds.
            Some(Value::Object(text)) => serde_json::from_str(text).map_err(|_| wrong),
            Some(_) => Err(wrong),
        }
    }
}
