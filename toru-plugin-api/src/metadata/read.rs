//! From entries to the types that always hold the rules.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    Dev, Manifest, ManifestError, PluginMetadata, Transport, rules,
    tree::{Entry, Kind, Node, Position, entries_into_json},
};

/// The keys of a manifest; those that metadata may carry come first.
const MANIFEST_KEYS: [&str; 16] = [
    "id",
    "name",
    "version",
    "author",
    "icon",
    "route",
    "protocol",
    "protocol_min",
    "transport",
    "features",
    "frontend",
    "raw_paths",
    "env",
    "config",
    "exec",
    "dev",
];
const METADATA_KEYS: &[&str] = MANIFEST_KEYS.split_at(14).0;
const DEV_KEYS: [&str; 2] = ["build", "exec"];

impl ManifestError {
    /// `what` is a sentence that names its key itself.
    pub(super) fn new(position: Option<Position>, key: Option<&str>, what: &str) -> Self {
        let message = match position {
            Some((line, column)) => format!("line {line}, column {column}: {what}"),
            None => what.to_owned(),
        };
        Self { position, key: key.map(str::to_owned), message }
    }

    /// A value that breaks the rule of its key.
    fn broken(at: Option<Position>, key: &str, rule: &str) -> Self {
        Self::new(at, Some(key), &format!("`{key}` {rule}"))
    }

    fn wrong_type(key: &str, node: &Node, expected: &str) -> Self {
        Self::broken(node.at, key, &format!("must be {expected}, not {}", node.kind_name()))
    }
}

/// A value and the whole name of its key (`dev.exec`).
struct Field {
    key: String,
    at: Option<Position>,
    node: Node,
}

impl Field {
    fn broken(&self, rule: &str) -> ManifestError {
        ManifestError::broken(self.node.at.or(self.at), &self.key, rule)
    }

    fn text(self, rule: impl Fn(&str) -> Result<(), String>) -> Result<String, ManifestError> {
        let Kind::Scalar(Value::String(text)) = &self.node.kind else {
            return Err(ManifestError::wrong_type(&self.key, &self.node, "a string"));
        };
        rule(text).map_err(|broken| self.broken(&broken))?;
        Ok(text.clone())
    }

    fn flag(self) -> Result<bool, ManifestError> {
        match self.node.kind {
            Kind::Scalar(Value::Bool(flag)) => Ok(flag),
            _ => Err(ManifestError::wrong_type(&self.key, &self.node, "true or false")),
        }
    }

    fn protocol(self) -> Result<u32, ManifestError> {
        let Kind::Scalar(Value::Number(number)) = &self.node.kind else {
            return Err(ManifestError::wrong_type(&self.key, &self.node, "an integer"));
        };
        number.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|&number| number > 0).ok_or_else(
            || self.broken(&format!("must be a protocol version, and {number} is none: write 1 or 2")),
        )
    }

    fn transport(self) -> Result<Transport, ManifestError> {
        let at = self.node.at.or(self.at);
        match self.text(|_| Ok(()))?.as_str() {
            "fd" => Ok(Transport::Fd),
            "path" => Ok(Transport::Path),
            other => Err(ManifestError::broken(
                at,
                "transport",
                &format!("must be \"fd\" or \"path\", not {other:?}"),
            )),
        }
    }

    fn features(self) -> Result<Vec<String>, ManifestError> {
        let Kind::Array(items) = self.node.kind else {
            return Err(ManifestError::wrong_type(&self.key, &self.node, "an array of strings"));
        };
        let name = |node| Self { key: self.key.clone(), at: self.at, node }.text(rules::feature);
        items.into_iter().map(name).collect()
    }

    /// Program and arguments, the program under its rule.
    fn command(self, rule: fn(&str) -> Result<(), String>) -> Result<Vec<String>, ManifestError> {
        let Kind::Array(items) = self.node.kind else {
            return Err(ManifestError::wrong_type(
                &self.key,
                &self.node,
                "an array of strings, the program first",
            ));
        };
        if items.is_empty() {
            let rule =
                "is empty: write the program and its arguments, for example [\"python3\", \"main.py\"]";
            return Err(ManifestError::broken(self.node.at, &self.key, rule));
        }
        let mut words = Vec::with_capacity(items.len());
        for node in items {
            let word = Self { key: self.key.clone(), at: self.at, node };
            words.push(if words.is_empty() { word.text(rule)? } else { word.text(rules::no_nul)? });
        }
        Ok(words)
    }

    fn table(self) -> Result<Fields, ManifestError> {
        match self.node.kind {
            Kind::Table(entries) => Ok(Fields { prefix: format!("{}.", self.key), entries }),
            _ => Err(ManifestError::wrong_type(&self.key, &self.node, "a table")),
        }
    }

    fn env(self) -> Result<BTreeMap<String, String>, ManifestError> {
        let table = self.table()?;
        let mut env = BTreeMap::new();
        for Entry { key, at, node } in table.entries {
            let field = Self { key: format!("{}{key}", table.prefix), at, node };
            rules::env_name(&key).map_err(|broken| ManifestError::broken(at, &field.key, &broken))?;
            env.insert(key, field.text(rules::no_nul)?);
        }
        Ok(env)
    }

    fn config(self) -> Result<Map<String, Value>, ManifestError> {
        check_depth(&self.key, &self.node, rules::CONFIG_DEPTH_MAX)?;
        Ok(entries_into_json(self.table()?.entries))
    }
}

fn check_depth(key: &str, node: &Node, max: usize) -> Result<(), ManifestError> {
    if node.depth() <= max {
        return Ok(());
    }
    let rule = format!("nests deeper than {max} tables and arrays: flatten it");
    Err(ManifestError::broken(node.at, key, &rule))
}

/// The entries of a table that were not read yet.
struct Fields {
    prefix: String,
    entries: Vec<Entry>,
}

impl Fields {
    fn top(entries: Vec<Entry>) -> Self {
        Self { prefix: String::new(), entries }
    }

    fn take(&mut self, key: &str) -> Option<Field> {
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        let Entry { at, node, .. } = self.entries.swap_remove(index);
        Some(Field { key: format!("{}{key}", self.prefix), at, node })
    }

    fn required(&mut self, key: &str, example: &str) -> Result<Field, ManifestError> {
        self.take(key).ok_or_else(|| {
            ManifestError::broken(
                None,
                &format!("{}{key}", self.prefix),
                &format!("is missing: add {example}"),
            )
        })
    }

    /// A key that nothing reads is a typo more often than not, and a typo must not pass for a setting.
    fn refuse_unknown(&self, known: &[&str]) -> Result<(), ManifestError> {
        let Some(unknown) = self.entries.iter().find(|entry| !known.contains(&entry.key.as_str())) else {
            return Ok(());
        };
        let hint = match rules::nearest(&unknown.key, known) {
            Some(near) => format!("did you mean `{}{near}`?", self.prefix),
            None => format!("the known ones are {}", known.join(", ")),
        };
        let key = format!("{}{}", self.prefix, unknown.key);
        let what = format!("`{key}` is not a known key: {hint}");
        Err(ManifestError::new(unknown.at, Some(&key), &what))
    }
}

fn check_size(text: &str) -> Result<(), ManifestError> {
    if text.len() <= rules::MANIFEST_MAX {
        return Ok(());
    }
    let what = format!("the text has {} bytes: write at most {}", text.len(), rules::MANIFEST_MAX);
    Err(ManifestError::new(None, None, &what))
}

pub(super) fn manifest(text: &str) -> Result<Manifest, ManifestError> {
    check_size(text)?;
    let mut fields = Fields::top(Node::entries_from_toml(text)?);
    fields.refuse_unknown(&MANIFEST_KEYS)?;
    let exec = fields.take("exec");
    let dev = fields.take("dev").map(dev).transpose()?;
    let metadata = metadata(fields)?;
    let exec = exec
        .ok_or_else(|| {
            ManifestError::broken(None, "exec", "is missing: add exec = [\"python3\", \"main.py\"]")
        })?
        .command(rules::program)?;
    Ok(Manifest { metadata, exec, dev })
}

fn dev(field: Field) -> Result<Dev, ManifestError> {
    let mut fields = field.table()?;
    fields.refuse_unknown(&DEV_KEYS)?;
    let anywhere = |text: &str| {
        if text.is_empty() {
            return Err("begins with an empty program: write its name or path".to_owned());
        }
        rules::no_nul(text)
    };
    Ok(Dev {
        build: fields.take("build").map(|field| field.text(rules::no_nul)).transpose()?,
        exec: fields.take("exec").map(|field| field.command(anywhere)).transpose()?,
    })
}

pub(super) fn metadata_from_json(text: &str) -> Result<PluginMetadata, ManifestError> {
    check_size(text)?;
    let mut entries = Node::entries_from_json(text)?;
    // Plugins of the original protocol print an author they do not have as null.
    entries.retain(|entry| !matches!(entry.node.kind, Kind::Scalar(Value::Null)));
    let fields = Fields::top(entries);
    if let Some(entry) = fields.entries.iter().find(|entry| matches!(entry.key.as_str(), "exec" | "dev")) {
        let rule = "may stand in a plugin.toml only, because the program that prints its metadata is what is run: remove it";
        return Err(ManifestError::broken(entry.at, &entry.key, rule));
    }
    // The original protocol ignored what it did not know, and its plugins run unchanged.
    let original = !fields.entries.iter().any(|entry| entry.key == "protocol");
    if !original {
        fields.refuse_unknown(METADATA_KEYS)?;
    }
    metadata(fields)
}

/// The metadata that a program states in code.
pub(super) fn metadata_from_texts(texts: [(&str, &str); 4]) -> Result<PluginMetadata, ManifestError> {
    let entry = |key: &str, value: Value| Entry {
        key: key.to_owned(),
        at: None,
        node: Node { at: None, kind: Kind::Scalar(value) },
    };
    let mut entries: Vec<Entry> = texts.map(|(key, text)| entry(key, Value::from(text))).into();
    entries.push(entry("protocol", Value::from(2)));
    metadata(Fields::top(entries))
}

fn metadata(mut fields: Fields) -> Result<PluginMetadata, ManifestError> {
    let id = fields.required("id", "id = \"my-plugin\"")?.text(rules::id)?;
    let name = fields.required("name", "name = \"My plugin\"")?.text(rules::name)?;
    let version = fields.required("version", "version = \"0.1.0\"")?.text(rules::version)?;
    let author = fields.take("author").map(|field| field.text(rules::author)).transpose()?;
    let icon = fields.take("icon").map(|field| field.text(rules::icon)).transpose()?;
    let route = fields.required("route", "route = \"/my-plugin\"")?.text(rules::route)?;
    let protocol = fields.take("protocol").map(Field::protocol).transpose()?.unwrap_or(1);
    let protocol_min = match fields.take("protocol_min") {
        Some(field) => {
            let at = field.node.at;
            let lowest = field.protocol()?;
            if lowest > protocol {
                let rule =
                    format!("is {lowest}, above `protocol`, which is {protocol}: write at most {protocol}");
                return Err(ManifestError::broken(at, "protocol_min", &rule));
            }
            lowest
        }
        None => protocol,
    };
    Ok(PluginMetadata {
        id,
        name,
        version,
        author,
        icon: icon.unwrap_or_else(|| rules::DEFAULT_ICON.to_owned()),
        route,
        protocol,
        protocol_min,
        transport: fields.take("transport").map(Field::transport).transpose()?.unwrap_or_default(),
        features: fields.take("features").map(Field::features).transpose()?,
        frontend: fields.take("frontend").map(|field| field.text(rules::frontend)).transpose()?,
        raw_paths: fields.take("raw_paths").map(Field::flag).transpose()?.unwrap_or(false),
        env: fields.take("env").map(Field::env).transpose()?.unwrap_or_default(),
        config: fields.take("config").map(Field::config).transpose()?.unwrap_or_default(),
    })
}

pub(super) fn settings(text: &str) -> Result<Map<String, Value>, ManifestError> {
    check_size(text)?;
    let entries = Node::entries_from_toml(text)?;
    for entry in &entries {
        // The document itself is a table too.
        check_depth(&entry.key, &entry.node, rules::CONFIG_DEPTH_MAX - 1)?;
    }
    Ok(entries_into_json(entries))
}

pub(super) fn check_id(text: &str) -> Result<(), ManifestError> {
    rules::id(text).map_err(|broken| ManifestError::broken(None, "id", &broken))
}

pub(super) fn author(text: &str) -> Result<String, ManifestError> {
    rules::author(text).map_err(|broken| ManifestError::broken(None, "author", &broken))?;
    Ok(text.to_owned())
}

pub(super) fn icon(text: &str) -> Result<String, ManifestError> {
    rules::icon(text).map_err(|broken| ManifestError::broken(None, "icon", &broken))?;
    Ok(text.to_owned())
}
