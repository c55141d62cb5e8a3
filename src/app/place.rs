//! Where this process runs.

use std::fs;
use std::path::Path;

use crate::config::{ConfigEntry, LoadedConfig, Origin};
use crate::host;
use crate::invocation::{Invocation, Place, Process, ProcessFacts};

pub(super) fn invocation(loaded: &LoadedConfig, daemon: bool) -> Invocation {
    let init = fs::read_to_string("/proc/1/comm").unwrap_or_default();
    let process =
        Process { id: std::process::id(), parent: std::os::unix::process::parent_id(), init: &init };
    Invocation {
        place: place(process),
        program: program(),
        config: loaded.file.as_ref().map(|file| absolute(file)),
        variables: database_variables(loaded),
        sqlite: !loaded.config.database.is_postgres(),
        daemon: daemon || process.is_executed_from_outside(),
    }
}

/// What starts a command here with this configuration file; none: where it is looked for anyway.
pub(super) fn line(config: Option<&Path>, command: &str) -> String {
    let config = config.map(absolute);
    Invocation { program: program(), config, ..Invocation::default() }.line(command)
}

fn place(process: Process<'_>) -> Place {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let set = |name: &str| std::env::var_os(name).is_some();
    let namespace = fs::read_to_string("/var/run/secrets/kubernetes.io/serviceaccount/namespace").ok();
    Place::find(&ProcessFacts {
        invocation_id: set("INVOCATION_ID"),
        cgroup: &read("/proc/self/cgroup"),
        mounts: &read("/proc/self/mountinfo"),
        docker_env: Path::new("/.dockerenv").exists(),
        container_env: Path::new("/run/.containerenv").exists(),
        kubernetes: set("KUBERNETES_SERVICE_HOST"),
        namespace: namespace.as_deref(),
        process,
        hostname: &host::name(),
        user: &std::env::var("USER").unwrap_or_default(),
        sudo: ["/usr/bin/sudo", "/usr/local/bin/sudo"].iter().any(|path| Path::new(path).exists()),
    })
}

/// As it was typed where that was typed; where a service manager gave its path, that path.
fn program() -> String {
    let typed = std::env::args_os().next().map(|name| name.to_string_lossy().into_owned());
    match typed {
        Some(typed) if typed.starts_with('/') || !typed.contains('/') && !typed.is_empty() => typed,
        Some(typed) if !typed.is_empty() => absolute(Path::new(&typed)),
        _ => "understory-sync".to_owned(),
    }
}

pub(super) fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// What tells the database and is not in the file. A URL with a password is never repeated.
fn database_variables(loaded: &LoadedConfig) -> Vec<(String, String)> {
    let entries = loaded.entries.iter().filter(|entry| entry.key.starts_with("database."));
    let variable = |entry: &ConfigEntry| {
        let value = entry.value.as_deref()?.trim_matches('"');
        let name = match &entry.origin {
            Origin::Variable(name) => name.clone(),
            // Counts from the working directory.
            Origin::Default if entry.key == "database.url" && loaded.file.is_none() => {
                "DATABASE_URL".to_owned()
            }
            _ => return None,
        };
        (!value.contains("[redacted]")).then(|| (name, value.to_owned()))
    };
    entries.filter_map(variable).collect()
}
