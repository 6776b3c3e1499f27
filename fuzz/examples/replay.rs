//! Runs one input through a target without the fuzzer: `cargo run --no-default-features --example replay -- TARGET FILE`.

use std::{error::Error, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let name = args.next().ok_or("the target is missing")?;
    let path = args.next().ok_or("the file is missing")?;
    let target = toru_fuzz::TARGETS.iter().find(|(known, _)| *known == name);
    let (_, body) = target.ok_or_else(|| format!("there is no target {name}"))?;
    body(&fs::read(path)?);
    println!("no promise was broken");
    Ok(())
}
