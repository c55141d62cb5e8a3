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
        Self { wall: self.wall + other.wall, cpu: self.cpu + other.cpu, mib: self.mib.max(other.mib) }
    }

    pub(crate) fn scaled(self, by: f64) -> Self {
        Self { wall: self.wall * by, cpu: self.cpu * by, mib: self.mib }
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
        let fields = stat(child.id()).unwrap();
        if fields[0] == "Z" {
            return (seconds(&fields, 11..13), peak);
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

fn field(pid: u32, file: &str, name: &str) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// CPU seconds that a server has used: its process, its children that ended, and those that live.
pub(crate) fn cpu_of(server: u32) -> f64 {
    let children = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let fields = stat(pid)?;
        (fields.get(1)? == &server.to_string()).then(|| seconds(&fields, 11..13))
    });
    let own = stat(server).map_or(0.0, |fields| seconds(&fields, 11..15));
    own + children.sum::<f64>()
}

/// What `/proc/PID/stat` says behind the name.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = stat.rsplit(')').next()?.split_whitespace();
    Some(fields.map(str::to_owned).collect())
}

fn seconds(fields: &[String], which: std::ops::Range<usize>) -> f64 {
    let times = fields.get(which).into_iter().flatten();
    times.map(|ticks| ticks.parse().unwrap_or(0.0)).sum::<f64>() / 100.0
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

/// The machine in a line.
pub(crate) fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{cores} cores,{}; load average at the start: {}",
        model.trim_start_matches(['\t', ' ', ':']).trim(),
        load.trim()
    )
}
