//! Sizes as people write them: `64MiB`, `1GiB`, `1000`.

/// Reads a size in bytes; its unit is a power of 1,024.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1_u64 << 30,
        _ => return Err("a size is a number with B, KiB, MiB or GiB, such as 64MiB".into()),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| "a size is a number above 0, such as 64MiB".into())
}

/// In MiB.
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        assert_eq!(parse("1000"), Ok(1_000));
        assert_eq!(parse("64KiB"), Ok(64 << 10));
        assert_eq!(parse("64MiB"), Ok(64 << 20));
        assert_eq!(parse("1GiB"), Ok(1 << 30));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "MiB", "0", "0GiB", "1MB", "-1", "1.5GiB", "20000000000GiB"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
