//! An authority of the tests, and the certificates that it makes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How long a certificate is good.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Valid {
    /// Now.
    Now,
    /// Until some years ago.
    Before,
    /// From some years on.
    Later,
}

/// An authority that keeps its files in a folder.
pub(crate) struct Authority {
    folder: PathBuf,
}

impl Authority {
    /// Makes the authority of this folder, which calls itself so.
    pub(crate) fn make(folder: &Path, called: &str) -> Self {
        let authority = Self { folder: folder.to_path_buf() };
        let settings = "[ca]\ndefault_ca = own\n[own]\ndatabase = index.txt\nnew_certs_dir = .\n\
                        default_md = sha256\npolicy = any\nrand_serial = yes\nunique_subject = no\n\
                        [any]\ncommonName = supplied\n";
        fs::write(folder.join("ca.cnf"), settings).unwrap();
        fs::write(folder.join("index.txt"), "").unwrap();
        authority.self_signed("ca", called, &[]);
        authority
    }

    /// What trusts it: its own certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// `NAME.pem` and `NAME.key`, for these hosts.
    pub(crate) fn sign(&self, name: &str, hosts: &str, valid: Valid) {
        let extensions = format!("subjectAltName={hosts}\nbasicConstraints=CA:FALSE\n");
        fs::write(self.folder.join(format!("{name}.ext")), extensions).unwrap();
        let (from, until) = match valid {
            Valid::Now => ("20200101000000Z", "20990101000000Z"),
            Valid::Before => ("20200101000000Z", "20210101000000Z"),
            Valid::Later => ("20900101000000Z", "20990101000000Z"),
        };
        self.openssl(&format!(
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key -out {name}.csr \
             -subj /CN=server"
        ));
        self.openssl(&format!(
            "ca -batch -notext -config ca.cnf -cert ca.pem -keyfile ca.key -startdate {from} -enddate {until} \
             -in {name}.csr -extfile {name}.ext -out {name}.pem"
        ));
    }

    /// `NAME.pem` and `NAME.key`, signed by nobody else, with these extensions.
    pub(crate) fn self_signed(&self, name: &str, called: &str, extensions: &[&str]) {
        let extensions: Vec<String> =
            extensions.iter().map(|extension| format!("-addext {extension}")).collect();
        let extensions = extensions.join(" ");
        self.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key -out {name}.pem \
             -days 30 -subj /CN={called} {extensions}"
        ));
    }

    fn openssl(&self, words: &str) {
        let done = Command::new("openssl")
            .args(words.split_whitespace())
            .current_dir(&self.folder)
            .output()
            .expect("this test needs openssl (Debian: apt-get install openssl)");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}
