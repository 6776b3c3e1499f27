//! The most memory that processes have held, from the kernel's own counts.

use std::fs;

use crate::Outcome;

/// The peak of a process and of all that it started, from when this was made.
pub(crate) struct Peak {
    /// Each process with its peak at the start, in bytes.
    processes: Vec<(u32, u64)>,
}

impl Peak {
    /// Forgets the peaks so far (proc(5), `clear_refs` with 5).
    pub(crate) fn from_now(processes: impl IntoIterator<Item = u32>) -> Outcome<Self> {
        let reset = |pid| {
            fs::write(format!("/proc/{pid}/clear_refs"), "5")
                .map_err(|error| format!("the peak of process {pid} cannot be reset: {error}"))?;
            Ok((pid, high_water_mark(pid)?))
        };
        let processes = processes.into_iter().map(reset).collect::<Outcome<Vec<_>>>()?;
        Ok(Self { processes })
    }

    /// What they held at the start, in bytes.
    pub(crate) fn at_start(&self) -> u64 {
        self.processes.iter().map(|(_, start)| start).sum()
    }

    /// How far their peaks rose since, in bytes.
    pub(crate) fn growth(&self) -> Outcome<u64> {
        self.processes.iter().map(|(pid, start)| Ok(high_water_mark(*pid)?.saturating_sub(*start))).sum()
    }
}

/// `VmHWM` in bytes (proc(5), `status`).
fn high_water_mark(pid: u32) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .map_err(|error| format!("process {pid} has ended: {error}"))?;
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    Ok(kibibytes.ok_or_else(|| format!("process {pid} has no VmHWM"))? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_was_given_back_still_counts_as_growth() {
        let peak = Peak::from_now([std::process::id()]).unwrap();
        drop(std::hint::black_box(vec![1_u8; 32 << 20]));
        assert!(peak.growth().unwrap() >= 24 << 20);
    }
}
