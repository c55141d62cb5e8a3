//! What is shipped beside the binary is what the binary says.

use std::process::Command;

fn said(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_understory-sync")).args(arguments).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn shipped(path: &str) -> String {
    std::fs::read_to_string(format!("{}/packaging/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn the_packaged_man_page_and_completions_are_the_programs_own() {
    let cure = "after a change of the command line, write them anew: understory-sync man >packaging/man/… and completions likewise";
    assert!(said(&["man"]) == shipped("man/understory-sync.1"), "the man page is old; {cure}");
    for shell in ["bash", "zsh", "fish"] {
        let packaged = shipped(&format!("completions/understory-sync.{shell}"));
        assert!(said(&["completions", shell]) == packaged, "the {shell} completions are old; {cure}");
    }
}

#[test]
fn the_schema_beside_the_example_is_the_programs_own() {
    let schema = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config.schema.json")).unwrap();
    let cure = "write it anew: understory-sync config --schema >config.schema.json";
    assert!(said(&["config", "--schema"]) == schema, "{cure}");
    assert!(said(&["config", "--example"]).starts_with("#:schema ./config.schema.json\n"));
}

#[test]
fn every_unit_asks_for_the_same_sandbox() {
    let unit = |name: &str| {
        let path = format!("{}/systemd/{name}.service", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let (_, sandbox) = text.split_once("# The sandbox").unwrap();
        let mut lines: Vec<String> = sandbox
            .lines()
            .skip(1)
            .take_while(|line| !line.starts_with('['))
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .filter(|line| !line.starts_with("RestrictAddressFamilies="))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    let daemon = unit("understory-sync");
    assert!(daemon.len() > 25);
    assert_eq!(unit("understory-sync@"), daemon);
    assert_eq!(unit("understory-sync-once"), daemon);
}
