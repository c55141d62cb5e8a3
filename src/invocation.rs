//! How a person starts this program from a shell where it runs: under systemd, in a container, or plainly.
//!
//! Every message that tells what to type takes the line from here, because `understory-sync …` alone fails in most of these places: it is
//! not on the path in an image, and a service's database and credentials are its own. Imports nothing of ours.

use std::sync::OnceLock;

/// What a command line is made from. No secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Invocation {
    pub place: Place,
    /// As it was started, or its full path.
    pub program: String,
    pub config: Option<String>,
    /// Variables that tell the database where the file does not.
    pub variables: Vec<(String, String)>,
    /// Only root and the service's own user can open the database, and root can open any SQLite file.
    pub sqlite: bool,
    /// The daemon, which a reload makes run at once, or a command that was started beside it in its container.
    pub daemon: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Place {
    #[default]
    Plain,
    Systemd {
        unit: String,
        /// A unit of a user's own manager.
        user_manager: bool,
        /// Who the service runs as.
        user: String,
        /// Whether there is sudo; else root types the line.
        sudo: bool,
    },
    Container {
        /// `docker` or `podman`
        engine: &'static str,
        id: String,
    },
    Kubernetes {
        namespace: Option<String>,
        pod: String,
    },
}

static CURRENT: OnceLock<Invocation> = OnceLock::new();

impl Invocation {
    /// This process; plain before [`Invocation::set_current`].
    pub fn current() -> &'static Self {
        CURRENT.get_or_init(|| Self { program: "understory-sync".to_owned(), ..Self::default() })
    }

    /// To be called once, when the configuration is known.
    pub fn set_current(self) {
        let _ = CURRENT.set(self);
    }

    /// What to type for a command of this program that needs the database alone.
    pub fn line(&self, command: &str) -> String {
        let config = self.config.as_ref().map(|file| format!("--config {} ", quote(file)));
        let program = format!("{} {}{command}", quote(&self.program), config.unwrap_or_default());
        match &self.place {
            Place::Plain | Place::Systemd { user_manager: true, .. } => self.with_variables("", &program),
            Place::Systemd { user, sudo, .. } => {
                let root = if *sudo { "sudo " } else { "" };
                let as_user = if self.sqlite || user == "root" || user.is_empty() {
                    root.to_owned()
                } else if *sudo {
                    format!("sudo -u {} ", quote(user))
                } else {
                    format!("runuser -u {} -- ", quote(user))
                };
                self.with_variables(&as_user, &program)
            }
            Place::Container { engine, id } if self.daemon => format!("{engine} exec {id} {program}"),
            Place::Container { engine, .. } => {
                format!("{engine} run … {command}   (the options and the image of this container)")
            }
            Place::Kubernetes { namespace, pod } if self.daemon => {
                let namespace = namespace.as_ref().map(|name| format!("-n {name} ")).unwrap_or_default();
                format!("kubectl {namespace}exec {pod} -- {program}")
            }
            Place::Kubernetes { .. } => {
                format!("{program}   (in a pod with this one's image, configuration and secrets)")
            }
        }
    }

    /// The same, and then a run at once where there is a way to ask for one.
    pub fn line_then_run(&self, command: &str) -> String {
        let line = self.line(command);
        match &self.place {
            Place::Systemd { unit, user_manager, sudo, .. } => {
                let verb = if self.daemon { "reload" } else { "start" };
                let manager = match (user_manager, sudo) {
                    (true, _) => "systemctl --user",
                    (false, true) => "sudo systemctl",
                    (false, false) => "systemctl",
                };
                format!("{line} && {manager} {verb} {}", quote(unit))
            }
            Place::Container { engine, id } if self.daemon => {
                format!("{line} && {engine} kill --signal HUP {id}")
            }
            _ => line,
        }
    }

    fn with_variables(&self, before: &str, program: &str) -> String {
        if self.variables.is_empty() {
            return format!("{before}{program}");
        }
        let set = self.variables.iter().map(|(name, value)| format!("{name}={} ", quote(value)));
        let env = if before.is_empty() { "" } else { "env " };
        format!("{before}{env}{}{program}", set.collect::<String>())
    }
}

/// What the system tells about this process.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each read once")]
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessFacts<'a> {
    /// `INVOCATION_ID`
    pub invocation_id: bool,
    /// `/proc/self/cgroup`
    pub cgroup: &'a str,
    /// `/proc/self/mountinfo`
    pub mounts: &'a str,
    pub docker_env: bool,
    pub container_env: bool,
    /// `KUBERNETES_SERVICE_HOST`
    pub kubernetes: bool,
    /// Of the service account.
    pub namespace: Option<&'a str>,
    pub hostname: &'a str,
    pub process: Process<'a>,
    pub user: &'a str,
    pub sudo: bool,
}

/// Where in its container a process stands.
#[derive(Debug, Clone, Copy, Default)]
pub struct Process<'a> {
    pub id: u32,
    /// 0 where it is outside of the container.
    pub parent: u32,
    /// The name of process 1.
    pub init: &'a str,
}

impl Process<'_> {
    /// What `docker run IMAGE …` or a pod starts, which ends the container when it ends.
    fn is_containers_own(self) -> bool {
        let inits = ["docker-init", "tini", "catatonit", "dumb-init", "pause"];
        self.id == 1 || self.parent == 1 && inits.contains(&self.init.trim())
    }

    /// What `docker exec` or `kubectl exec` starts in a container that goes on.
    pub fn is_executed_from_outside(self) -> bool {
        self.parent == 0 && self.id != 1
    }
}

impl Place {
    pub fn find(facts: &ProcessFacts<'_>) -> Self {
        // A container may run systemd itself, so it comes first.
        if let Some((unit, user_manager)) = service(facts) {
            return Self::Systemd { unit, user_manager, user: facts.user.to_owned(), sudo: facts.sudo };
        }
        // A shell in a container is as good as any.
        if !facts.process.is_containers_own() && !facts.process.is_executed_from_outside() {
            return Self::Plain;
        }
        if facts.kubernetes {
            let namespace = facts.namespace.map(str::trim).filter(|name| !name.is_empty());
            let (namespace, pod) = (namespace.map(str::to_owned), facts.hostname.to_owned());
            return Self::Kubernetes { namespace, pod };
        }
        if facts.docker_env || facts.container_env {
            let engine = if facts.docker_env { "docker" } else { "podman" };
            let id = container_id(facts.mounts).unwrap_or_else(|| facts.hostname.to_owned());
            return Self::Container { engine, id };
        }
        Self::Plain
    }
}

/// The unit that this process belongs to. What cron or a login starts belongs to a unit too, but has no invocation id of it.
fn service(facts: &ProcessFacts<'_>) -> Option<(String, bool)> {
    // Where both hierarchies are mounted, only one of them may be systemd's.
    let path = |line| str::strip_prefix(line, "0::").or_else(|| Some(line.split_once("name=systemd:")?.1));
    let mut paths = facts.cgroup.lines().filter(|_| facts.invocation_id).filter_map(path);
    let (path, unit) = paths
        .find_map(|path| Some((path, path.rsplit('/').find_map(|part| part.strip_suffix(".service"))?)))?;
    let is_another = unit.starts_with("user@") || ["cron", "crond"].contains(&unit);
    (!is_another).then(|| (unit.to_owned(), path.contains("/user@")))
}

/// The engines mount `…/containers/ID/hostname` (Docker) or `…/ID/userdata/hostname` (Podman) at `/etc/hostname`.
fn container_id(mounts: &str) -> Option<String> {
    let line = mounts.lines().find(|line| line.contains(" /etc/hostname "))?;
    let is_id = |part: &&str| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    line.split(['/', ' ']).find(is_id).map(|id| id[..12].to_owned())
}

/// A word that every shell takes as it is.
fn quote(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:@=+,%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Invocation {
        Invocation { program: "understory-sync".to_owned(), ..Invocation::default() }
    }

    fn systemd(sudo: bool) -> Place {
        Place::Systemd {
            unit: "understory-sync".to_owned(),
            user_manager: false,
            user: "understory-sync".to_owned(),
            sudo,
        }
    }

    #[test]
    fn the_line_works_where_the_process_runs() {
        let config = Some("/etc/understory-sync/config.toml".to_owned());
        let variables = vec![("DATABASE_URL".to_owned(), "sqlite:///var/lib/u s/understory.db".to_owned())];
        let service = Invocation {
            program: "/usr/bin/understory-sync".to_owned(),
            config: config.clone(),
            daemon: true,
            place: systemd(true),
            ..plain()
        };
        let image = Invocation { program: "/usr/bin/understory-sync".to_owned(), daemon: true, ..plain() };
        let docker = Place::Container { engine: "docker", id: "0123456789ab".to_owned() };
        let pod = Place::Kubernetes { namespace: Some("crm".to_owned()), pod: "sync-0".to_owned() };
        let cases = [
            (plain(), "understory-sync accept-removals 5"),
            (
                Invocation { config: Some("/home/o'neil/a b.toml".to_owned()), ..plain() },
                r"understory-sync --config '/home/o'\''neil/a b.toml' accept-removals 5",
            ),
            (
                Invocation {
                    variables: variables.clone(),
                    program: "./understory-sync".to_owned(),
                    ..plain()
                },
                "DATABASE_URL='sqlite:///var/lib/u s/understory.db' ./understory-sync accept-removals 5",
            ),
            (
                Invocation { variables: variables.clone(), sqlite: true, ..service.clone() },
                "sudo env DATABASE_URL='sqlite:///var/lib/u s/understory.db' /usr/bin/understory-sync --config \
                 /etc/understory-sync/config.toml accept-removals 5 && sudo systemctl reload understory-sync",
            ),
            (
                service.clone(),
                "sudo -u understory-sync /usr/bin/understory-sync --config /etc/understory-sync/config.toml \
                 accept-removals 5 && sudo systemctl reload understory-sync",
            ),
            (
                Invocation { place: systemd(false), daemon: false, ..service.clone() },
                "runuser -u understory-sync -- /usr/bin/understory-sync --config /etc/understory-sync/config.toml \
                 accept-removals 5 && systemctl start understory-sync",
            ),
            (
                Invocation { place: systemd(false), sqlite: true, ..service },
                "/usr/bin/understory-sync --config /etc/understory-sync/config.toml accept-removals 5 && systemctl \
                 reload understory-sync",
            ),
            (
                Invocation { place: docker.clone(), variables, ..image.clone() },
                "docker exec 0123456789ab /usr/bin/understory-sync accept-removals 5 && docker kill --signal HUP \
                 0123456789ab",
            ),
            (
                Invocation { place: docker, daemon: false, ..image.clone() },
                "docker run … accept-removals 5   (the options and the image of this container)",
            ),
            (
                Invocation { place: pod, ..image },
                "kubectl -n crm exec sync-0 -- /usr/bin/understory-sync accept-removals 5",
            ),
        ];
        for (invocation, line) in cases {
            assert_eq!(invocation.line_then_run("accept-removals 5"), line);
        }
    }

    #[test]
    fn the_place_is_found_by_what_the_system_tells() {
        let id = "0123456789abcdef".repeat(4);
        let mounts = format!(
            "1 2 254:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/vda1 rw\n"
        );
        let unit = ProcessFacts {
            invocation_id: true,
            cgroup: "0::/system.slice/understory-sync.service\n",
            user: "understory-sync",
            sudo: true,
            ..ProcessFacts::default()
        };
        let own = Process { id: 1, parent: 0, init: "understory-sync" };
        let host =
            ProcessFacts { hostname: "web", docker_env: true, process: own, ..ProcessFacts::default() };
        let instance =
            "1:name=systemd:/system.slice/system-understory\\x2dsync.slice/understory-sync@north.service";
        let docker = |id: &str| Place::Container { engine: "docker", id: id.to_owned() };
        assert_eq!(Place::find(&unit), systemd(true));
        assert_eq!(Place::find(&ProcessFacts { docker_env: true, ..unit }), systemd(true));
        let hybrid = "9:name=systemd:/\n1:cpu:/\n0::/system.slice/understory-sync.service\n";
        assert_eq!(Place::find(&ProcessFacts { cgroup: hybrid, ..unit }), systemd(true));
        assert!(matches!(
            Place::find(&ProcessFacts { cgroup: instance, ..unit }),
            Place::Systemd { unit, .. } if unit == "understory-sync@north"
        ));
        let users = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/sync.service";
        assert!(matches!(
            Place::find(&ProcessFacts { cgroup: users, ..unit }),
            Place::Systemd { user_manager: true, .. }
        ));
        for cgroup in ["0::/", "0::/system.slice/cron.service", "0::/user.slice/user@1000.service/init.scope"]
        {
            assert_eq!(Place::find(&ProcessFacts { cgroup, ..unit }), Place::Plain, "{cgroup}");
        }
        assert_eq!(Place::find(&ProcessFacts { invocation_id: false, ..unit }), Place::Plain);
        assert_eq!(Place::find(&host), docker("web"));
        let (executed, under_init) =
            (Process { id: 40, ..own }, Process { id: 7, parent: 1, init: "docker-init\n" });
        assert!(executed.is_executed_from_outside() && !own.is_executed_from_outside());
        for process in [executed, under_init] {
            assert_eq!(Place::find(&ProcessFacts { process, ..host }), docker("web"));
        }
        let typed = Process { id: 40, parent: 1, init: "bash\n" };
        assert_eq!(Place::find(&ProcessFacts { process: typed, ..host }), Place::Plain);
        assert_eq!(Place::find(&ProcessFacts { mounts: &mounts, ..host }), docker("0123456789ab"));
        let podman = ProcessFacts { docker_env: false, container_env: true, ..host };
        assert!(matches!(Place::find(&podman), Place::Container { engine: "podman", .. }));
        let pod = ProcessFacts { kubernetes: true, namespace: Some("crm\n"), ..host };
        assert_eq!(
            Place::find(&pod),
            Place::Kubernetes { namespace: Some("crm".to_owned()), pod: "web".to_owned() }
        );
    }
}
