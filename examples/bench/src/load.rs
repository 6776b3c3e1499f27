//! wrk, and the one request that shows what a system answers.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::Command,
    time::Duration,
};

use crate::Outcome;

/// What is asked of every system.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) headers: &'static [&'static str],
}

pub(crate) const WORKLOADS: [Workload; 2] = [
    Workload { name: "g", about: "a bare GET of 100 bytes of JSON", headers: &[] },
    Workload {
        name: "h",
        about: "the same with a browser's 11 headers",
        headers: &[
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
            "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
            "Accept-Language: en-GB,en;q=0.9,de;q=0.8",
            "Accept-Encoding: gzip, deflate, br, zstd",
            "Cache-Control: max-age=0",
            "Referer: http://localhost/plugins",
            "Sec-Fetch-Dest: document",
            "Sec-Fetch-Mode: navigate",
            "Sec-Fetch-Site: same-origin",
            "Upgrade-Insecure-Requests: 1",
            "Cookie: theme=dark; session_hint=6b1d7a2f9c",
        ],
    },
];

/// Where a system answers, and what every request to it carries.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) authority: String,
    pub(crate) path: String,
    pub(crate) header: Option<String>,
}

/// One run of wrk.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) requests: u64,
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

pub(crate) fn wrk(target: &Target, workload: &Workload, connections: u32, seconds: u32) -> Outcome<Sample> {
    let mut wrk = Command::new("wrk");
    wrk.args(["--latency", "-t1", &format!("-c{connections}"), &format!("-d{seconds}s")]);
    for header in workload.headers.iter().copied().chain(target.header.as_deref()) {
        wrk.args(["-H", header]);
    }
    let output = wrk.arg(format!("http://{}{}", target.authority, target.path)).output()?;
    let text = String::from_utf8(output.stdout)?;
    if let Some(errors) = text.lines().find(|line| line.contains("Non-2xx") || line.contains("Socket errors"))
    {
        return Err(format!("{}: {}", target.authority, errors.trim()).into());
    }
    parse(&text).ok_or_else(|| format!("wrk said nothing that can be read:\n{text}").into())
}

fn parse(text: &str) -> Option<Sample> {
    let after = |label: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(label))
            .and_then(|rest| rest.split_whitespace().next())
    };
    Some(Sample {
        requests: text
            .lines()
            .find(|line| line.contains(" requests in "))?
            .split_whitespace()
            .next()?
            .parse()
            .ok()?,
        per_second: after("Requests/sec:")?.parse().ok()?,
        p50: parse_time(after("50%")?)?,
        p99: parse_time(after("99%")?)?,
    })
}

fn parse_time(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let number: f64 = text[..unit].parse().ok()?;
    let scale = match &text[unit..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return None,
    };
    Some(Duration::from_secs_f64(number * scale))
}

/// The body that a system answers; one with another status than 200 is an error.
pub(crate) fn ask(target: &Target, patience: Duration) -> Outcome<String> {
    let mut stream = TcpStream::connect(&target.authority)?;
    stream.set_read_timeout(Some(patience))?;
    let header = target.header.as_deref().map_or(String::new(), |header| format!("{header}\r\n"));
    let request = format!(
        "GET {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{header}\r\n",
        target.path, target.authority
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => Err(format!("{} answered {answer:?}", target.authority).into()),
    }
}

/// The status and the length of the body that a system answers.
pub(crate) fn probe(target: &Target, workload: &Workload) -> Outcome<(u16, usize)> {
    let mut stream = TcpStream::connect(&target.authority)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut request =
        format!("GET {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", target.path, target.authority);
    for header in workload.headers.iter().copied().chain(target.header.as_deref()) {
        request.push_str(header);
        request.push_str("\r\n");
    }
    stream.write_all(format!("{request}\r\n").as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| format!("{} answered {line:?}", target.authority))?;
    let mut length = None;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse::<usize>().ok();
        }
    }
    let mut body = Vec::new();
    reader.read_to_end(&mut body)?;
    match length {
        Some(length) if length != body.len() => Err(format!("{} cut its answer", target.authority).into()),
        _ => Ok((status, body.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_of_wrk_is_read() {
        let sample = parse(
            "Running 1s test @ http://127.0.0.1:1/json\n  1 threads and 64 connections\n  Thread Stats   Avg      Stdev     Max   +/- Stdev\n    \
             Latency   460.10us   97.00us   3.00ms   90.00%\n  Latency Distribution\n     50%  450.00us\n     75%  480.00us\n     90%  520.00us\n     99%    1.20ms\n  \
             179000 requests in 1.00s, 20.00MB read\nRequests/sec: 178999.50\nTransfer/sec:     20.00MB\n",
        )
        .unwrap();
        assert_eq!(sample.requests, 179_000);
        assert!((sample.per_second - 178_999.5).abs() < f64::EPSILON);
        assert_eq!(sample.p50, Duration::from_micros(450));
        assert_eq!(sample.p99, Duration::from_micros(1_200));
    }
}
