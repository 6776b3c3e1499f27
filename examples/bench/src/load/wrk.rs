//! wrk: one thread, keep-alive, and a script that tells its counts as numbers.

use std::{io::Write, process::Command, time::Duration};

use super::{Sample, Target};
use crate::{
    Outcome,
    workload::{Sends, Workload},
};

/// Above the slowest answer of the slowest system, so that a queue counts as latency and not as an error.
const TIMEOUT: &str = "20s";
/// What the line of the script begins with.
const MARK: &str = "toru-bench:";

/// `done` runs after the load, so that it costs none of it. Times are in microseconds.
const DONE: &str = r#"
function done(summary, latency, requests)
    local e = summary.errors
    print(string.format("toru-bench: %d %d %d %d %d %d", summary.requests, summary.duration,
        latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.timeout, e.status))
end
"#;

pub(super) fn run(target: &Target, workload: &Workload, connections: u32, seconds: u32) -> Outcome<Sample> {
    let mut script = tempfile::Builder::new().suffix(".lua").tempfile()?;
    if let Sends::Bytes(bytes) = workload.sends {
        writeln!(script, "wrk.method = 'POST'\nwrk.body = string.rep('.', {bytes})")?;
    }
    script.write_all(DONE.as_bytes())?;
    let mut wrk = Command::new("wrk");
    wrk.args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--timeout", TIMEOUT, "-s"]);
    wrk.arg(script.path());
    for header in workload.headers.iter().copied().chain(target.header.as_deref()) {
        wrk.args(["-H", header]);
    }
    let output =
        wrk.arg(format!("http://{}{}{}", target.authority, target.prefix, workload.path)).output()?;
    read(&String::from_utf8(output.stdout)?)
}

/// Reads what the script has told.
fn read(text: &str) -> Outcome<Sample> {
    let numbers = text.lines().find_map(|line| line.strip_prefix(MARK));
    let numbers: Option<Vec<u64>> =
        numbers.and_then(|line| line.split_whitespace().map(|n| n.parse().ok()).collect());
    let Some(&[requests, duration, p50, p99, broken, refused]) = numbers.as_deref() else {
        return Err(format!("wrk said nothing that can be read: {text:?}").into());
    };
    if broken + refused > 0 {
        return Err(format!("{broken} of {requests} requests broke, {refused} were refused").into());
    }
    if requests == 0 || duration == 0 {
        return Err("no request was answered".into());
    }
    Ok(Sample {
        requests,
        per_second: requests as f64 / Duration::from_micros(duration).as_secs_f64(),
        p50: Duration::from_micros(p50),
        p99: Duration::from_micros(p99),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_script_is_read() {
        let sample =
            read("Running 1s test @ http://127.0.0.1:1/json\ntoru-bench: 179000 2000000 450 1200 0 0\n");
        let expected = Sample {
            requests: 179_000,
            per_second: 89_500.0,
            p50: Duration::from_micros(450),
            p99: Duration::from_micros(1_200),
        };
        assert_eq!(sample.unwrap(), expected);
    }

    #[test]
    fn one_answer_that_is_wrong_fails_the_run() {
        assert!(read("toru-bench: 179000 1000000 450 1200 1 0\n").is_err());
        assert!(read("toru-bench: 179000 1000000 450 1200 0 1\n").is_err());
        assert!(read("toru-bench: 0 1000000 0 0 0 0\n").is_err());
        assert!(read("unable to connect to 127.0.0.1:1 Connection refused\n").is_err());
    }
}
