//! Whatever bytes come from outside, nothing panics and what must be so is so: the fuzz targets' corpus and thousands of
//! mutations of it, the same ones each time. The fuzzers themselves (fuzz/README.md) look further, and longer.

#[path = "../../fuzz/invariant.rs"]
mod invariant;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// xorshift64*: enough to stir bytes, and the same on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.roll() >> 33).unwrap() % limit.max(1)
    }
}

/// Pieces that parsers trip over.
const PIECES: [&[u8]; 20] = [
    b"\\u0000",
    b"\\ud800",
    b"\\udc00",
    b"\xff",
    b"\0",
    b"\xef\xbb\xbf",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"null",
    b"1e999",
    b"-",
    b"99999999999999999999",
    b"\"items\":",
    b"\n[",
    b" GMT",
];

/// One to eight changes: bytes flipped, cut, doubled, pieces put in, ends swapped with another text.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    for _ in 0..=dice.below(8) {
        let at = dice.below(bytes.len() + 1);
        match dice.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 => bytes.truncate(at),
            2 => {
                let end = (at + dice.below(40)).min(bytes.len());
                bytes.drain(at..end);
            }
            3 if bytes.len() < 20_000 => {
                let end = (at + dice.below(200)).min(bytes.len());
                let again = bytes[at..end].repeat(1 + dice.below(20));
                bytes.splice(at..at, again);
            }
            4 => {
                bytes.truncate(at);
                bytes.extend_from_slice(&other[dice.below(other.len() + 1)..]);
            }
            5 if at < bytes.len() => bytes[at] = u8::try_from(dice.below(256)).unwrap(),
            _ => {
                let piece = PIECES[dice.below(PIECES.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
        }
    }
}

fn hold(target: &str, mutations: usize, invariant: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    assert!(corpus.len() >= 5, "the corpus of {target} is in the repository");
    for bytes in &corpus {
        invariant(bytes);
    }
    let mut dice = Dice(0x5eed_0000_0000_0001);
    for number in 0..mutations {
        let mut bytes = corpus[dice.below(corpus.len())].clone();
        let other = corpus[dice.below(corpus.len())].clone();
        mutate(&mut bytes, &other, &mut dice);
        let held = catch_unwind(AssertUnwindSafe(|| invariant(&bytes)));
        assert!(held.is_ok(), "{target}, mutation {number}: {}", bytes.escape_ascii());
    }
}

#[test]
fn no_page_breaks_the_reader_of_pages() {
    hold("page", 8_000, invariant::page);
}

#[test]
fn no_answer_breaks_the_reader_of_tokens() {
    hold("token", 8_000, invariant::token);
}

#[test]
fn no_header_breaks_the_reader_of_retry_after() {
    hold("retry_after", 8_000, invariant::retry_after);
}

#[test]
fn no_file_breaks_the_reader_of_the_configuration() {
    hold("configuration", 1_000, invariant::configuration);
}
