//! A document as a tree of values that know where they stood, so that one set of rules reads TOML and JSON.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};

use super::ManifestError;

/// Line and column, from 1; the column counts characters.
pub(super) type Position = (usize, usize);

/// One value and where it begins.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: Option<Position>,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Table(Vec<Entry>),
    Array(Vec<Node>),
    Scalar(Value),
}

/// A key and its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Option<Position>,
    pub(super) node: Node,
}

impl Node {
    /// Reads a TOML document into its top-level entries.
    pub(super) fn entries_from_toml(text: &str) -> Result<Vec<Entry>, ManifestError> {
        let document = DeTable::parse(text).map_err(|error| {
            let at = error.span().map(|span| position(text, span.start));
            let what = error.message().lines().collect::<Vec<_>>().join(", ");
            ManifestError::new(at, None, &format!("this is not valid TOML: {what}"))
        })?;
        toml_table(text, document.into_inner())
    }

    /// Reads a JSON document, which must be an object, into its top-level entries.
    pub(super) fn entries_from_json(text: &str) -> Result<Vec<Entry>, ManifestError> {
        let node: Self = serde_json::from_str(text).map_err(|error| {
            // serde_json ends its text with the position, which stands at the front here.
            let full = error.to_string();
            let what = full.rsplit_once(" at line ").map_or(full.as_str(), |(what, _)| what);
            let at = (error.line() > 0).then(|| (error.line(), error.column().max(1)));
            ManifestError::new(at, None, &format!("this is not valid JSON: {what}"))
        })?;
        match node.kind {
            Kind::Table(entries) => Ok(entries),
            _ => Err(ManifestError::new(
                None,
                None,
                &format!("a JSON object was expected, not {}: print {{\"id\": …}}", node.kind_name()),
            )),
        }
    }

    /// What the value is, with its article, for an error.
    pub(super) fn kind_name(&self) -> &'static str {
        match &self.kind {
            Kind::Table(_) => "a table",
            Kind::Array(_) => "an array",
            Kind::Scalar(Value::Null) => "null",
            Kind::Scalar(Value::Bool(_)) => "a boolean",
            Kind::Scalar(Value::Number(number)) if number.is_f64() => "a float",
            Kind::Scalar(Value::Number(_)) => "an integer",
            Kind::Scalar(_) => "a string",
        }
    }

    /// How many tables and arrays stand in one another at the deepest place, this one included.
    pub(super) fn depth(&self) -> usize {
        match &self.kind {
            Kind::Table(entries) => 1 + entries.iter().map(|entry| entry.node.depth()).max().unwrap_or(0),
            Kind::Array(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Kind::Scalar(_) => 0,
        }
    }

    pub(super) fn into_json(self) -> Value {
        match self.kind {
            Kind::Table(entries) => Value::Object(entries_into_json(entries)),
            Kind::Array(items) => Value::Array(items.into_iter().map(Self::into_json).collect()),
            Kind::Scalar(value) => value,
        }
    }
}

pub(super) fn entries_into_json(entries: Vec<Entry>) -> Map<String, Value> {
    entries.into_iter().map(|entry| (entry.key, entry.node.into_json())).collect()
}

/// The line and column of a byte offset.
fn position(text: &str, offset: usize) -> Position {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn toml_table(text: &str, table: DeTable<'_>) -> Result<Vec<Entry>, ManifestError> {
    let mut entries = Vec::with_capacity(table.len());
    for (key, value) in table {
        let at = Some(position(text, key.span().start));
        let value_at = position(text, value.span().start);
        let node = toml_value(text, value_at, value.into_inner())?;
        entries.push(Entry { key: key.into_inner().into_owned(), at, node });
    }
    Ok(entries)
}

fn toml_value(text: &str, at: Position, value: DeValue<'_>) -> Result<Node, ManifestError> {
    let refused = |what: &str| ManifestError::new(Some(at), None, what);
    let kind = match value {
        DeValue::String(string) => Kind::Scalar(Value::String(string.into_owned())),
        DeValue::Boolean(flag) => Kind::Scalar(Value::Bool(flag)),
        DeValue::Datetime(moment) => Kind::Scalar(Value::String(moment.to_string())),
        DeValue::Integer(integer) => {
            let number = i64::from_str_radix(integer.as_str(), integer.radix());
            Kind::Scalar(Value::from(number.map_err(|_| {
                refused("this integer does not fit into 64 bits: write a smaller one, or a string")
            })?))
        }
        DeValue::Float(float) => {
            let number = float.as_str().parse().ok().and_then(Number::from_f64);
            Kind::Scalar(Value::Number(number.ok_or_else(|| {
                refused("this float has no form in JSON: write a finite number, or a string")
            })?))
        }
        DeValue::Array(items) => {
            let mut nodes = Vec::with_capacity(items.len());
            for item in items {
                let item_at = position(text, item.span().start);
                nodes.push(toml_value(text, item_at, item.into_inner())?);
            }
            Kind::Array(nodes)
        }
        DeValue::Table(table) => Kind::Table(toml_table(text, table)?),
    };
    Ok(Node { at: Some(at), kind })
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

/// Unlike `serde_json::Value`, this refuses a key that is given twice.
struct NodeVisitor;

fn scalar<E>(value: impl Into<Value>) -> Result<Node, E> {
    Ok(Node { at: None, kind: Kind::Scalar(value.into()) })
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        scalar(value)
    }
    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        scalar(value)
    }
    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        scalar(value)
    }
    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        scalar(value)
    }
    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        scalar(value)
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        scalar(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(item) = items.next_element()? {
            nodes.push(item);
        }
        Ok(Node { at: None, kind: Kind::Array(nodes) })
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut seen = std::collections::HashSet::new();
        let mut entries = Vec::new();
        while let Some((key, node)) = map.next_entry::<String, Node>()? {
            if !seen.insert(key.clone()) {
                return Err(de::Error::custom(format_args!("the key `{key}` is given twice")));
            }
            entries.push(Entry { key, at: None, node });
        }
        Ok(Node { at: None, kind: Kind::Table(entries) })
    }
}
