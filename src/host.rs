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

/// Who works on this machine, as `sync_runs.accepted_by` tells it: user and host.
pub fn operator() -> String {
    let user = ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .filter_map(|variable| std::env::var(variable).ok())
        .find(|user| !user.trim().is_empty())
        .or_else(user_id);
    let unknown = || "unknown".to_owned();
    let host = Some(name()).filter(|name| !name.is_empty());
    format!("{}@{}", user.unwrap_or_else(unknown), host.unwrap_or_else(unknown))
}

fn user_id() -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").ok().map(|metadata| format!("uid {}", metadata.uid()))
}
