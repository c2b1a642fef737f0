//! What the kernel says of a process.

use std::fs;

use crate::site::Failure;

/// Ticks of a second, as Linux shows times to programs.
const TICKS: f64 = 100.0;

/// CPU time of a process since its start, in seconds.
pub fn cpu_secs(pid: u32) -> Result<f64, Failure> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = text.rsplit(") ").next().ok_or("no fields")?;
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / TICKS)
}

/// Memory that it takes, shared pages by share.
pub fn pss_mib(pid: u32) -> Result<f64, Failure> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find(|line| line.starts_with("Pss:")).ok_or("no Pss")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no figure")?.parse()?;
    Ok(kib / 1_024.0)
}

/// How busy the machine is with everything.
pub fn load_average() -> Result<String, Failure> {
    Ok(fs::read_to_string("/proc/loadavg")?.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}
