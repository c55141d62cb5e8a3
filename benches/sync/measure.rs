//! What a process costs: wall time, CPU time, peak memory, as the kernel tells them.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// What a process cost.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
    /// Peak resident memory.
    pub(crate) mib: f64,
}

impl Cost {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            wall: self.wall + other.wall,
            cpu: self.cpu + other.cpu,
            mib: self.mib.max(other.mib),
        }
    }

    pub(crate) fn scaled(self, by: f64) -> Self {
        Self {
            wall: self.wall * by,
            cpu: self.cpu * by,
            mib: self.mib,
        }
    }
}

/// Runs a process to its end; it must succeed.
pub(crate) fn run(command: &mut Command) -> Cost {
    let start = Instant::now();
    let mut child = command.spawn().unwrap();
    let (cpu, mib) = watch(&child);
    let wall = start.elapsed().as_secs_f64();
    let status = child.wait().unwrap();
    assert!(status.success(), "{command:?} ended with {status}");
    Cost { wall, cpu, mib }
}

/// A process that has ended keeps its CPU time until it is waited for; its peak memory is asked for while it runs.
fn watch(child: &Child) -> (f64, f64) {
    let mut peak = 0.0_f64;
    loop {
        if let Some(now) = field(child.id(), "status", "VmHWM:") {
            peak = peak.max(now / 1024.0);
        }
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        if fields[0] == "Z" {
            return ((ticks(fields[11]) + ticks(fields[12])) / 100.0, peak);
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

fn ticks(field: &str) -> f64 {
    field.parse().unwrap()
}

fn field(pid: u32, file: &str, name: &str) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(name))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// CPU seconds that a running process and its children that ended have used.
pub(crate) fn cpu_of(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<f64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0.0))
        .collect();
    fields
        .get(11..15)
        .map_or(0.0, |times| times.iter().sum::<f64>() / 100.0)
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

/// The machine in a line.
pub(crate) fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or(": unknown");
    let cores = info
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{cores} cores,{}; load average at the start: {}",
        model.trim_start_matches(['\t', ' ', ':']).trim(),
        load.trim()
    )
}
