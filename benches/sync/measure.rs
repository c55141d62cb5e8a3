//! What a process costs: wall time, CPU time, peak memory, bytes written, as the kernel tells them.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// What a process cost.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
    /// Peak resident memory.
    pub(crate) mib: f64,
    /// Bytes given to `write()`; 0 where the kernel does not tell.
    pub(crate) written: f64,
    /// Bytes that were to reach the disk.
    pub(crate) stored: f64,
}

impl Cost {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            wall: self.wall + other.wall,
            cpu: self.cpu + other.cpu,
            mib: self.mib.max(other.mib),
            written: self.written + other.written,
            stored: self.stored + other.stored,
        }
    }

    pub(crate) fn scaled(self, by: f64) -> Self {
        Self { wall: self.wall * by, cpu: self.cpu * by, ..self }
    }
}

/// Runs a process to its end; it must succeed.
pub(crate) fn run(command: &mut Command) -> Cost {
    let start = Instant::now();
    let mut child = command.spawn().unwrap();
    let cost = watch(&child);
    let wall = start.elapsed().as_secs_f64();
    let status = child.wait().unwrap();
    assert!(status.success(), "{command:?} ended with {status}");
    Cost { wall, ..cost }
}

/// A process that has ended keeps its CPU time and its bytes until it is waited for; its peak memory is asked for while it runs.
fn watch(child: &Child) -> Cost {
    let mut cost = Cost::default();
    loop {
        if let Some(now) = field(child.id(), "status", "VmHWM:") {
            cost.mib = cost.mib.max(now / 1024.0);
        }
        let fields = stat(child.id()).unwrap();
        // Only root may read them of a program that leaves no core dump.
        cost.written = field(child.id(), "io", "wchar:").unwrap_or(cost.written);
        cost.stored = field(child.id(), "io", "write_bytes:").unwrap_or(cost.stored);
        if fields[0] == "Z" {
            return Cost { cpu: seconds(&fields, 11..13), ..cost };
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

fn field(pid: u32, file: &str, name: &str) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// CPU seconds that a server has used: its process, its children that ended, and those that live. A child that ends while they are
/// read would be missed on both sides, so that they are read until none did.
pub(crate) fn cpu_of(server: u32) -> f64 {
    loop {
        let own = stat(server).map_or(0.0, |fields| seconds(&fields, 11..15));
        let before = children_of(server);
        let after = children_of(server);
        let pids = |children: &[(u32, f64)]| children.iter().map(|(pid, _)| *pid).collect::<Vec<_>>();
        // It is waited for a moment after it has gone.
        let waited = stat(server).map_or(0.0, |fields| seconds(&fields, 11..15));
        if pids(&before) == pids(&after) && (waited - own) < 0.02 {
            return own + before.iter().map(|(_, cpu)| cpu).sum::<f64>();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn children_of(parent: u32) -> Vec<(u32, f64)> {
    let mut children: Vec<(u32, f64)> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let fields = stat(pid)?;
            (fields.get(1)? == &parent.to_string()).then(|| (pid, seconds(&fields, 11..13)))
        })
        .collect();
    children.sort_unstable_by_key(|(pid, _)| *pid);
    children
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
