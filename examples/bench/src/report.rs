//! What is told: Markdown on stdout as the parts go, and all rows as JSON in the end.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::Outcome;

/// All rows of a run, and what went wrong.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    rows: Vec<Row>,
    #[serde(skip)]
    failures: Vec<String>,
}

/// One system under one load. What was not measured is null; so is everything of a row that was skipped or has failed.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Row {
    pub(crate) workload: &'static str,
    pub(crate) connections: Option<u32>,
    pub(crate) system: &'static str,
    pub(crate) rps: Option<f64>,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) cpu_us: Option<f64>,
    pub(crate) ratio_to_nginx: Option<f64>,
    /// What only some parts measure.
    #[serde(flatten)]
    pub(crate) more: Map<String, Value>,
}

impl Row {
    pub(crate) fn new(workload: &'static str, connections: Option<u32>, system: &'static str) -> Self {
        Self { workload, connections, system, ..Self::default() }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// A row without figures, and the reason.
    pub(crate) fn skipped(self, why: &str) -> Self {
        self.with("skipped", why)
    }
}

impl Report {
    pub(crate) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// A row as it will be written.
    pub(crate) fn row(&self, workload: &str, connections: Option<u32>, system: &str) -> Option<Value> {
        let is = |row: &&Row| (row.workload, row.connections, row.system) == (workload, connections, system);
        self.rows.iter().find(is).and_then(|row| serde_json::to_value(row).ok())
    }

    /// A row that should have figures and has none: the run goes on, and fails in the end.
    pub(crate) fn add_failed(&mut self, row: Row, why: &str) {
        let connections = row.connections.map_or_else(String::new, |n| format!(" with {n} connections"));
        self.failures.push(format!("{} of {}{connections}: {why}", row.workload, row.system));
        self.add(row.with("failed", why));
    }

    /// # Errors
    /// A row has failed.
    pub(crate) fn verdict(&self) -> Outcome<()> {
        if self.failures.is_empty() { Ok(()) } else { Err(self.failures.join("; ").into()) }
    }
}

/// The file for the rows.
pub(crate) struct RowsFile {
    file: File,
    path: PathBuf,
}

impl RowsFile {
    pub(crate) fn create(path: &Path) -> Outcome<Self> {
        let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { file, path: path.to_owned() })
    }

    pub(crate) fn write(mut self, report: &Report) -> Outcome<()> {
        let json = serde_json::to_string_pretty(report)? + "\n";
        let written = self.file.write_all(json.as_bytes());
        written.map_err(|error| format!("{}: {error}", self.path.display()).into())
    }
}

/// A line of a Markdown table.
pub(crate) fn line(cells: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut line = String::from("|");
    for cell in cells {
        line.push(' ');
        line.push_str(cell.as_ref());
        line.push_str(" |");
    }
    line
}

/// The head of a Markdown table.
pub(crate) fn head<const N: usize>(names: [&str; N]) -> String {
    format!("{}\n{}", line(names), "|---".repeat(N) + "|")
}

/// The middle of what was measured; of an even count the upper one.
pub(crate) fn median<T: Copy + PartialOrd>(values: impl IntoIterator<Item = T>) -> Option<T> {
    let mut values: Vec<T> = values.into_iter().collect();
    values.sort_by(|a, b| a.partial_cmp(b).expect("measured numbers can be compared"));
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields that every row has, in every part.
    const FIELDS: [&str; 8] =
        ["workload", "connections", "system", "rps", "p50_us", "p99_us", "cpu_us", "ratio_to_nginx"];

    fn written(report: &Report) -> Value {
        let file = tempfile::NamedTempFile::new().unwrap();
        RowsFile::create(file.path()).unwrap().write(report).unwrap();
        serde_json::from_slice(&std::fs::read(file.path()).unwrap()).unwrap()
    }

    #[test]
    fn every_row_of_the_file_has_the_fields_of_its_schema() {
        let mut report = Report::default();
        report.add(Row {
            rps: Some(109_000.5),
            ratio_to_nginx: Some(1.0),
            ..Row::new("h", Some(64), "nginx-unix")
        });
        report.add(Row::new("h", Some(64), "go-plugin").skipped("there is no go"));
        report.add(Row::new("spawn-to-ready", None, "toru-embedded").with("ratio_to_own", 1.2));
        let json = written(&report);
        let rows = json["rows"].as_array().unwrap();
        assert_eq!(rows.len(), 3);
        for row in rows {
            let row = row.as_object().unwrap();
            assert!(FIELDS.iter().all(|field| row.contains_key(*field)), "{row:?}");
            assert!(row["workload"].is_string() && row["system"].is_string());
            assert!(row["connections"].is_u64() || row["connections"].is_null());
            assert!(FIELDS[3..].iter().all(|field| row[*field].is_number() || row[*field].is_null()));
        }
        assert_eq!((&rows[0]["rps"], &rows[0]["connections"]), (&109_000.5.into(), &64.into()));
        assert_eq!(
            (&rows[1]["ratio_to_nginx"], &rows[1]["skipped"]),
            (&Value::Null, &"there is no go".into())
        );
        assert_eq!(rows[2]["ratio_to_own"], 1.2);
    }

    #[test]
    fn a_failed_row_is_written_and_fails_the_run() {
        let mut report = Report::default();
        report.add_failed(Row::new("g", Some(1), "toru-heads"), "3 requests were refused");
        assert_eq!(written(&report)["rows"][0]["rps"], Value::Null);
        let error = report.verdict().unwrap_err().to_string();
        assert_eq!(error, "g of toru-heads with 1 connections: 3 requests were refused");
        assert!(Report::default().verdict().is_ok());
    }

    #[test]
    fn the_median_is_a_value_that_was_measured() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4, 1]), Some(4));
        assert_eq!(median::<u32>([]), None);
    }
}
