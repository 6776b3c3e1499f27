//! From a line that a plugin wrote to a record.

use serde_json::{Map, Value};
use toru_plugin_api::message::log::Level;

use super::LogRecord;

/// Stands at the end of what was cut.
const CUT_MARK: &str = " […cut]";

/// The longest timestamp of a plugin that is looked at, in bytes.
const MAX_TIMESTAMP: usize = 40;

/// The record of a captured line; `None` for a blank one. `is_cut` says that the line went on.
pub(super) fn record_of(line: &[u8], is_cut: bool, plugin: &str, pid: u32, now: &str) -> Option<LogRecord> {
    let line = if is_cut { without_torn_character(line) } else { line };
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end();
    if text.is_empty() {
        return None;
    }
    let mut record = LogRecord {
        timestamp: now.to_owned(),
        level: Level::Info,
        message: String::new(),
        plugin: Some(plugin.to_owned()),
        error: None,
        pid: Some(pid),
        fields: Map::new(),
    };
    if is_cut {
        record.message = format!("{text}{CUT_MARK}");
        return Some(record);
    }
    match structured(text) {
        Some((message, fields)) => {
            record.message = message;
            take_fields(&mut record, fields, usize::MAX);
        }
        None => record.message = text.to_owned(),
    }
    Some(record)
}

/// The line as a JSON object with at least a message.
fn structured(text: &str) -> Option<(String, Map<String, Value>)> {
    if !text.starts_with('{') {
        return None;
    }
    let mut fields: Map<String, Value> = serde_json::from_str(text).ok()?;
    match fields.remove("message") {
        Some(Value::String(message)) => Some((message, fields)),
        _ => None,
    }
}

/// Fills a record from fields: those that a record has by name where they fit, the rest as they are; fields that hold more than
/// `max` bytes together are replaced by a mark. Whose record it is and which process wrote it is never theirs to say.
pub(super) fn take_fields(record: &mut LogRecord, mut fields: Map<String, Value>, max: usize) {
    for name in ["plugin", "pid", "message"] {
        fields.remove(name);
    }
    if let Some(level) = fields.remove("level") {
        record.level = level.as_str().map_or(Level::Info, level_of);
    }
    match fields.remove("timestamp") {
        Some(Value::String(timestamp)) if is_timestamp(&timestamp) => record.timestamp = timestamp,
        _ => {}
    }
    record.error = match fields.remove("error") {
        Some(Value::String(error)) => Some(cut(&error, max)),
        Some(Value::Null) | None => None,
        Some(other) => Some(cut(&other.to_string(), max)),
    };
    if max < usize::MAX && serde_json::to_vec(&fields).map_or(0, |text| text.len()) > max {
        fields = [("fields".to_owned(), Value::from(CUT_MARK.trim()))].into_iter().collect();
    }
    record.fields = fields;
}

fn is_timestamp(text: &str) -> bool {
    text.len() <= MAX_TIMESTAMP && text.parse::<jiff::Timestamp>().is_ok()
}

/// The level by the names that the usual logging libraries give; an unknown one counts as info (protocol section 6).
fn level_of(name: &str) -> Level {
    match name.to_ascii_lowercase().as_str() {
        "trace" => Level::Trace,
        "debug" => Level::Debug,
        "warn" | "warning" => Level::Warn,
        "err" | "error" | "critical" | "fatal" | "panic" => Level::Error,
        _ => Level::Info,
    }
}

/// The text, at most so many bytes of it and then a mark.
pub(super) fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = (0..=max).rev().find(|at| text.is_char_boundary(*at)).expect("the start is a boundary");
    format!("{}{CUT_MARK}", &text[..end])
}

/// Without the first bytes of a character whose others were cut off.
fn without_torn_character(line: &[u8]) -> &[u8] {
    match std::str::from_utf8(line) {
        Err(error) if error.error_len().is_none() => &line[..error.valid_up_to()],
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: &str = "2026-01-02T03:04:05.678Z";

    fn record(line: &str) -> LogRecord {
        record_of(line.as_bytes(), false, "hello", 7, NOW).unwrap()
    }

    #[test]
    fn a_plain_line_is_an_info_record() {
        let record = record("listening on 3 workers\r");
        let expected = json!({
            "timestamp": NOW, "level": "info", "message": "listening on 3 workers", "plugin": "hello", "pid": 7
        });
        assert_eq!(serde_json::to_value(record).unwrap(), expected);
    }

    #[test]
    fn a_json_line_keeps_its_level_timestamp_error_and_fields() {
        let line =
            r#"{"level":"WARNING","message":"slow","timestamp":"2020-01-01T00:00:00Z","error":"e","ms":12}"#;
        let expected = json!({
            "timestamp": "2020-01-01T00:00:00Z", "level": "warn", "message": "slow", "plugin": "hello",
            "error": "e", "pid": 7, "ms": 12
        });
        assert_eq!(serde_json::to_value(record(line)).unwrap(), expected);
    }

    #[test]
    fn a_json_line_cannot_pose_as_another_plugin_or_process() {
        let record = record(r#"{"message":"m","plugin":"other","pid":1,"timestamp":"soon","level":3}"#);
        assert_eq!((record.plugin.as_deref(), record.pid), (Some("hello"), Some(7)));
        assert_eq!((record.timestamp.as_str(), record.level), (NOW, Level::Info));
        assert!(record.fields.is_empty());
    }

    #[test]
    fn json_without_a_message_is_text() {
        for line in
            [r#"{"level":"error"}"#, r#"{"message":1}"#, "[1]", r#"{"message":"m""#, &"[{".repeat(4_000)]
        {
            let record = record(line);
            assert_eq!((record.message.as_str(), record.level), (line, Level::Info));
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let record = record_of(b"caf\xe9 \xff", false, "hello", 7, NOW).unwrap();
        assert_eq!(record.message, "caf\u{FFFD} \u{FFFD}");
    }

    #[test]
    fn a_blank_line_is_no_record() {
        assert_eq!(record_of(b" \r", false, "hello", 7, NOW), None);
    }

    #[test]
    fn a_cut_line_is_marked_and_ends_in_a_whole_character() {
        let record =
            record_of("{\"message\":\"é".as_bytes().split_last().unwrap().1, true, "hello", 7, NOW).unwrap();
        assert_eq!(record.message, "{\"message\":\" […cut]");
        assert_eq!(cut("aé", 2), "a […cut]");
        assert_eq!(cut("aé", 3), "aé");
    }

    #[test]
    fn fields_past_the_bound_are_replaced_by_a_mark() {
        let mut record = record("m");
        let fields = json!({"long": "x".repeat(100), "level": "error"}).as_object().unwrap().clone();
        take_fields(&mut record, fields, 50);
        assert_eq!(Value::from(record.fields), json!({"fields": "[…cut]"}));
        assert_eq!(record.level, Level::Error);
    }
}
