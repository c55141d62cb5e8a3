//! This machine's name, for the lease's holder and for a jitter that is the same at every start.
//!
//! Imports nothing of ours.

/// Empty where nothing tells it. A service whose sandbox hides /proc/sys (`ProcSubset=pid`) finds it where the system keeps it.
pub fn name() -> String {
    ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .into_iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .map(|text| text.trim().to_owned())
        .find(|name| !name.is_empty())
        .unwrap_or_default()
}
