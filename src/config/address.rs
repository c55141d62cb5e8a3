//! Addresses: the endpoints, the consents' path, the heartbeat, the listener.

use std::net::SocketAddr;

use secrecy::SecretString;
use url::{Host, Url};

use super::ConsentsPath;
use super::value::{self, Complaint, Parsed, Setting, quoted};

/// An endpoint: https, or http to this very host; no credentials, query or fragment.
pub(super) fn endpoint(setting: &Setting) -> Parsed<Url> {
    let allowed = "a URL like \"https://host/path\" is wanted";
    let url = web_url(setting, allowed)?;
    if url.query().is_some() {
        return Err(Complaint::new("it has a query (?…)", allowed));
    }
    Ok((url, quoted(setting.as_text()?)))
}

/// As an endpoint, but its path and query may hold a key, so they are a secret; or `off`.
pub(super) fn secret_url(setting: &Setting) -> Parsed<Option<SecretString>> {
    if setting.as_text() == Ok("off") {
        return Ok((None, quoted("off")));
    }
    let url = web_url(setting, "a URL like \"https://host/key\", or \"off\", is wanted")?;
    let shown = quoted(&format!("{}/[redacted]", url.origin().ascii_serialization()));
    Ok((Some(SecretString::from(String::from(url))), shown))
}

fn web_url(setting: &Setting, allowed: &str) -> Result<Url, Complaint> {
    let text = setting.as_text()?;
    let wrong = |what: &str| Complaint::new(what, allowed);
    let url = Url::parse(text).map_err(|error| wrong(&format!("it is no URL ({error})")))?;
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        "http" => {
            return Err(wrong("http is for loopback hosts only (127.0.0.1, ::1, localhost), use https"));
        }
        _ => return Err(wrong("its scheme is not https")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it holds a user name or a password"));
    }
    if url.fragment().is_some() {
        return Err(wrong("it has a fragment (#…)"));
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

/// `auto`, or one path below the base URL.
pub(super) fn consents_path(setting: &Setting) -> Parsed<ConsentsPath> {
    let allowed = "\"auto\", or a path like \"/v1/grow/consents\" is wanted";
    let text = setting.as_text()?;
    if text == "auto" {
        return Ok((ConsentsPath::Auto, quoted(text)));
    }
    let wrong = |what: &str| Err(Complaint::new(what, allowed));
    if !text.starts_with('/') || text.starts_with("//") {
        return wrong("it does not begin with one slash");
    }
    if text.contains(['?', '#']) {
        return wrong("it has a query or a fragment");
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return wrong("it holds a character that no path may hold unescaped");
    }
    let dots = |segment: &str| matches!(segment.to_lowercase().replace("%2e", ".").as_str(), "." | "..");
    if text.split('/').any(dots) {
        return wrong("it leads upwards (..)");
    }
    Ok((ConsentsPath::Fixed(text.to_owned()), quoted(text)))
}

/// An address to listen on, or `off`.
pub(super) fn listen(setting: &Setting) -> Parsed<Option<SocketAddr>> {
    let allowed = "an address and a port like \"127.0.0.1:9187\", \"localhost:9187\" or \"[::]:9187\", or \"off\", is wanted";
    let text = setting.as_text().map_err(|complaint| Complaint::new(complaint.what, allowed))?;
    if text == "off" {
        return Ok((None, quoted(text)));
    }
    // The one name that needs nobody to be asked.
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    numeric.parse::<SocketAddr>().map(|address| (Some(address), quoted(&address.to_string()))).map_err(|_| {
        Complaint::new("it is no address with a port (a name other than localhost is none either)", allowed)
    })
}

/// Host names and addresses without ports, as the `Host` header writes them: a list, or text with commas or spaces between.
pub(super) fn hosts(setting: &Setting) -> Parsed<Vec<String>> {
    let allowed = "a list of host names like [\"sync.example.org\"] is wanted, in a variable with commas or spaces between";
    let names = value::words(setting, allowed)?;
    let host = |name: &String| match Host::parse(name) {
        Ok(host) if !name.contains(['*', '%']) => Ok(host.to_string()),
        _ => Err(Complaint::new(
            "it holds something that is not a host name (a port is not part of it)",
            allowed,
        )),
    };
    let hosts = names.iter().map(host).collect::<Result<Vec<_>, _>>()?;
    let shown = value::show_list(&hosts);
    Ok((hosts, shown))
}

/// A `User-Agent`: what a header may hold.
pub(super) fn user_agent(setting: &Setting) -> Parsed<String> {
    let text = setting.as_text()?;
    let printable = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    if !text.bytes().all(printable) || text.trim() != text {
        let allowed = "ASCII text without line breaks and without spaces around it is wanted";
        return Err(Complaint::new("no header can hold it", allowed));
    }
    Ok((text.to_owned(), quoted(text)))
}

#[cfg(test)]
mod tests {
    use super::super::problem::Origin;
    use super::super::value::Raw;
    use super::*;

    fn text(text: &str) -> Setting {
        Setting { raw: Raw::Text(text.to_owned()), origin: Origin::Default }
    }

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
            assert!(endpoint(&text(right)).is_ok(), "{right}");
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
            assert!(endpoint(&text(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_complaint_repeats_a_url() {
        for wrong in
            ["https://user:hunter2@host", "http://hunter2.example.org", "https://h/?hunter2", "hunter2"]
        {
            let complaint = format!("{:?}", endpoint(&text(wrong)).err());
            assert!(complaint.starts_with("Some") && !complaint.contains("hunter2"), "{wrong}");
        }
    }

    #[test]
    fn a_heartbeat_hides_its_path() {
        let shown = secret_url(&text("https://hc.example.org/secret?key=secret")).map(|(_, shown)| shown);
        assert_eq!(shown, Ok("\"https://hc.example.org/[redacted]\"".to_owned()));
        assert!(matches!(secret_url(&text("off")), Ok((None, _))));
        assert!(secret_url(&text("http://hc.example.org/x")).is_err());
    }

    #[test]
    fn allowed_hosts_are_names_without_ports() {
        for (given, hosts) in [
            ("", &[][..]),
            ("Sync.Example.org, 10.0.0.7", &["sync.example.org", "10.0.0.7"]),
            ("[::1] bücher.example", &["[::1]", "xn--bcher-kva.example"]),
        ] {
            let expected: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
            assert_eq!(super::hosts(&text(given)).map(|(hosts, _)| hosts), Ok(expected), "{given}");
        }
        for wrong in ["host:9187", "*", "*.example.org", "http://host", "::1", "a%2e"] {
            assert!(super::hosts(&text(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn consents_paths_stay_below_the_base() {
        for right in ["auto", "/v1/grow/consents", "/v1/marketing-consents", "/", "/a..b/c"] {
            assert!(consents_path(&text(right)).is_ok(), "{right}");
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
            assert!(consents_path(&text(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_listener_has_an_address_and_a_port() {
        for right in ["off", "127.0.0.1:9187", "0.0.0.0:0", "[::1]:9187", "localhost:9187"] {
            assert!(listen(&text(right)).is_ok(), "{right}");
        }
        for wrong in ["", ":9187", "9187", "localhost", "host:9187", "127.0.0.1", "127.0.0.1:99999", "on"] {
            assert!(listen(&text(wrong)).is_err(), "{wrong}");
        }
    }
}
