//! Addresses: the endpoints, the consents' path, the heartbeat, the listener.

use std::net::{IpAddr, SocketAddr};

use secrecy::SecretString;
use url::{Host, Url};

use super::ConsentsPath;
use super::rule::{Accepted, Complaint, Input, Rule, accept, list, quoted, show_list, text, words};

/// An endpoint: https, or http to this very host; no credentials, query or fragment.
pub(super) const fn endpoint() -> Rule<Url> {
    text("a URL like \"https://host/path\"", |input| {
        let url = web_url(input)?;
        if url.query().is_some() {
            return Err(Complaint::new("it has a query (?…)"));
        }
        accept(url, quoted(input.text()?))
    })
}

/// As an endpoint, but its path and query may hold a key, so they are a secret; or `off`.
pub(super) const fn secret_url() -> Rule<Option<SecretString>> {
    text("a URL like \"https://host/key\", or \"off\"", |input| {
        if input.text() == Ok("off") {
            return accept(None, quoted("off"));
        }
        let url = web_url(input)?;
        let shown = quoted(&format!("{}/[redacted]", url.origin().ascii_serialization()));
        accept(Some(SecretString::from(String::from(url))), shown)
    })
    .secret()
}

fn web_url(input: &Input<'_>) -> Result<Url, Complaint> {
    let wrong = |what: &str| Err(Complaint::new(what));
    let url =
        Url::parse(input.text()?).map_err(|error| Complaint::new(format!("it is not a URL ({error})")))?;
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        "http" => return wrong("http is for loopback hosts only (127.0.0.1, ::1, localhost), use https"),
        _ => return wrong("its scheme is not https"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("it holds a user name or a password");
    }
    if url.fragment().is_some() {
        return wrong("it has a fragment (#…)");
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

pub(super) const fn consents_path() -> Rule<ConsentsPath> {
    text("\"auto\", or a path like \"/v1/grow/consents\"", |input| {
        let text = input.text()?;
        if text == "auto" {
            return accept(ConsentsPath::Auto, quoted(text));
        }
        let wrong = |what: &str| Err(Complaint::new(what));
        if !text.starts_with('/') || text.starts_with("//") {
            return wrong("it does not begin with one slash");
        }
        if text.contains(['?', '#']) {
            return wrong("it has a query or a fragment");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
            return wrong("it holds a character that a path must escape");
        }
        let dots = |segment: &str| matches!(segment.to_lowercase().replace("%2e", ".").as_str(), "." | "..");
        if text.split('/').any(dots) {
            return wrong("it leads upwards (..)");
        }
        accept(ConsentsPath::Fixed(text.to_owned()), quoted(text))
    })
}

pub(super) const fn listen() -> Rule<Option<SocketAddr>> {
    let expected =
        "an address and a port like \"127.0.0.1:9187\", \"localhost:9187\" or \"[::]:9187\", or \"off\"";
    text(expected, |input| {
        let text = input.text()?;
        if text == "off" {
            return accept(None, quoted(text));
        }
        // The one name that needs nobody to be asked.
        let numeric = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        let Ok(address) = numeric.parse::<SocketAddr>() else {
            return Err(Complaint::new("it is not an IP address (or localhost) with a port"));
        };
        let mut warnings = Vec::new();
        if is_public(address.ip()) {
            warnings.push(format!(
                "http.listen: {address} may be reached from other networks, and nobody is asked for a password; bind it to 127.0.0.1 or a private address"
            ));
        }
        Ok(Accepted { value: Some(address), shown: quoted(&address.to_string()), warnings })
    })
}

/// Whether an address can be anybody's way in: neither this machine's own nor a private network's. All interfaces are such a way.
fn is_public(address: IpAddr) -> bool {
    !match address.to_canonical() {
        IpAddr::V4(address) => {
            let shared = address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64;
            address.is_loopback() || address.is_private() || address.is_link_local() || shared
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

/// Host names and addresses without ports, as the `Host` header writes them.
pub(super) const fn hosts() -> Rule<Vec<String>> {
    let expected =
        "a list of host names like [\"sync.example.org\"], in a variable with commas or spaces between";
    list(expected, |input| {
        let host = |name: &String| match Host::parse(name) {
            Ok(host) if !name.contains(['*', '%']) => Ok(host.to_string()),
            _ => Err(Complaint::new("it holds something that is not a host name (a port is not part of it)")),
        };
        let hosts = words(input)?.iter().map(host).collect::<Result<Vec<_>, _>>()?;
        let shown = show_list(&hosts);
        accept(hosts, shown)
    })
}

/// A `User-Agent`: what a header may hold.
pub(super) const fn user_agent() -> Rule<String> {
    text("ASCII text in quotes, without line breaks and without spaces around it", |input| {
        let text = input.text()?;
        let printable = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        if !text.bytes().all(printable) || text.trim() != text {
            return Err(Complaint::new("a header cannot hold it"));
        }
        accept(text.to_owned(), quoted(text))
    })
}

#[cfg(test)]
mod tests {
    use super::super::rule::try_rule;
    use super::*;

    #[test]
    fn endpoints_are_https_or_loopback() {
        for right in [
            "https://api.understory.io",
            "https://host:8443/prefix/",
            "http://127.0.0.1:8080",
            "http://127.8.9.1/x",
            "http://localhost:1/",
            "http://LOCALHOST/",
            "http://[::1]:80/",
        ] {
            assert!(try_rule(&endpoint(), right).is_ok(), "{right}");
        }
        for wrong in [
            "",
            "api.understory.io",
            "//host",
            "ftp://host",
            "http://api.understory.io",
            "http://localhost.example.org",
            "http://127.0.0.1.example.org",
            "http://128.0.0.1",
            "http://0.0.0.0",
            "http://[::2]",
            "https://",
            "https://user:password@host",
            "https://user@host",
            "https://host/?",
            "https://host/?a=b",
            "https://host/#x",
            "localhost:8080",
        ] {
            assert!(try_rule(&endpoint(), wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_complaint_repeats_a_url() {
        for wrong in
            ["https://user:hunter2@host", "http://hunter2.example.org", "https://h/?hunter2", "hunter2"]
        {
            let complaint = format!("{:?}", try_rule(&endpoint(), wrong).err());
            assert!(complaint.starts_with("Some") && !complaint.contains("hunter2"), "{wrong}");
        }
    }

    #[test]
    fn a_heartbeat_hides_its_path() {
        let shown = try_rule(&secret_url(), "https://hc.example.org/secret?key=secret")
            .map(|accepted| accepted.shown);
        assert_eq!(shown, Ok("\"https://hc.example.org/[redacted]\"".to_owned()));
        assert!(matches!(try_rule(&secret_url(), "off"), Ok(Accepted { value: None, .. })));
        assert!(try_rule(&secret_url(), "http://hc.example.org/x").is_err());
    }

    #[test]
    fn allowed_hosts_are_names_without_ports() {
        for (given, hosts) in [
            ("", &[][..]),
            ("Sync.Example.org, 10.0.0.7", &["sync.example.org", "10.0.0.7"]),
            ("[::1] bücher.example", &["[::1]", "xn--bcher-kva.example"]),
        ] {
            let expected: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
            assert_eq!(
                try_rule(&super::hosts(), given).map(|accepted| accepted.value),
                Ok(expected),
                "{given}"
            );
        }
        for wrong in ["host:9187", "*", "*.example.org", "http://host", "::1", "a%2e"] {
            assert!(try_rule(&super::hosts(), wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn consents_paths_stay_below_the_base() {
        for right in ["auto", "/v1/grow/consents", "/v1/marketing-consents", "/", "/a..b/c"] {
            assert!(try_rule(&consents_path(), right).is_ok(), "{right}");
        }
        for wrong in [
            "",
            "v1",
            "//host/x",
            "/a?b",
            "/a#b",
            "/a/../b",
            "/..",
            "/%2E%2e/a",
            "/a b",
            "/a\\b",
            "/ü",
            "Auto",
        ] {
            assert!(try_rule(&consents_path(), wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_listener_has_an_address_and_a_port() {
        for right in ["off", "127.0.0.1:9187", "0.0.0.0:0", "[::1]:9187", "localhost:9187"] {
            assert!(try_rule(&listen(), right).is_ok(), "{right}");
        }
        for wrong in ["", ":9187", "9187", "localhost", "host:9187", "127.0.0.1", "127.0.0.1:99999", "on"] {
            assert!(try_rule(&listen(), wrong).is_err(), "{wrong}");
        }
    }
}
