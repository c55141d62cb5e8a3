//! The commands of the documentation are commands of the program: every word of them is one that it understands.

use clap::Parser as _;
use clap::error::ErrorKind;
use understory_sync::cli::Cli;

use crate::documents::{blocks, pages, read_page, spans};

/// The words of a shell command, without quotes and redirections. What another command prints is a part of its word.
fn words(piece: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in piece.chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (None, '(') => quote = Some(')'),
            (Some(end), _) if end == c => quote = None,
            (None, ' ') => words.push(String::new()),
            _ => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words.iter().take_while(|word| !word.starts_with(['#', '>', '<'])).cloned().collect()
}

/// What a shell line gives to the program, by each way of starting it that the documents show.
fn arguments(piece: &str) -> Option<Vec<String>> {
    let words = words(piece);
    let in_container = words.iter().position(|word| word == "/usr/bin/understory-sync");
    let is_before = |word: &&String| matches!(&***word, "do" | "sudo" | "exec") || word.contains('=');
    let mut begin = words.iter().take_while(is_before).count();
    if words.get(begin).is_some_and(|word| word == "-u") {
        begin += 2;
    }
    let place = match words.get(begin)?.as_str() {
        "understory-sync" | "/usr/bin/understory-sync" => begin,
        "docker" | "kubectl" => in_container?,
        _ => return None,
    };
    Some(words[place + 1..].to_vec())
}

fn complaint(arguments: &[String], is_named_only: bool) -> Option<String> {
    let typed = std::iter::once("understory-sync".to_owned()).chain(arguments.iter().cloned());
    let error = Cli::try_parse_from(typed).err()?;
    let is_meant = match error.kind() {
        // A placeholder stands for a value.
        ErrorKind::ValueValidation | ErrorKind::InvalidValue | ErrorKind::DisplayHelp => true,
        ErrorKind::MissingRequiredArgument => is_named_only,
        _ => false,
    };
    (!is_meant).then(|| error.to_string())
}

#[test]
fn every_command_of_the_documents_is_understood() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for page in pages() {
        let text = read_page(&page).replace("\\\n", " ");
        let blocks = blocks(&text, "sh");
        let pieces =
            blocks.iter().flat_map(|block| block.lines()).flat_map(|line| line.split(['|', ';', '&']));
        let typed = pieces.filter_map(arguments).map(|arguments| (arguments, false));
        let spans = spans(&text);
        let is_command = |span: &&String| span.starts_with("understory-sync ") && !span.contains('…');
        let named = spans
            .iter()
            .filter(is_command)
            .filter_map(|span| arguments(span.split(" | ").next()?))
            .map(|arguments| (arguments, true));
        for (arguments, is_named_only) in typed.chain(named) {
            seen += 1;
            if let Some(complaint) = complaint(&arguments, is_named_only) {
                wrong.push(format!("{}: {arguments:?}\n{complaint}", page.display()));
            }
        }
    }
    assert!(seen > 50, "{seen} commands");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
