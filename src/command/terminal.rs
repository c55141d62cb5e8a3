//! Output on a terminal: text from other people must not send control sequences to it.

use std::io::{self, IsTerminal, Write};

/// Shown in the place of a control character.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// Standard output, a terminal's control characters replaced.
pub fn stdout() -> Box<dyn Write> {
    guarded(io::stdout())
}

/// Any output; where it is a terminal, control characters but line ends are written as U+FFFD.
pub(super) fn guarded(out: impl Write + IsTerminal + 'static) -> Box<dyn Write> {
    if out.is_terminal() { Box::new(Visible { out, held: None }) } else { Box::new(out) }
}

/// One line of text without control characters.
pub(super) fn visible(line: &str) -> String {
    line.replace(char::is_control, "\u{fffd}")
}

struct Visible<W> {
    out: W,
    /// A byte whose meaning the next one decides: the first of U+0080 to U+00BF, or a carriage return.
    held: Option<u8>,
}

impl<W: Write> Write for Visible<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut shown = Vec::with_capacity(bytes.len() + 8);
        for &byte in bytes {
            match (self.held.take(), byte) {
                (Some(b'\r'), b'\n') => shown.extend(b"\r\n"),
                (Some(0xc2), 0x80..=0x9f) => shown.extend(REPLACEMENT),
                (Some(0xc2), byte) => shown.extend([0xc2, byte]),
                (held, byte) => {
                    if held.is_some() {
                        shown.extend(REPLACEMENT);
                    }
                    match byte {
                        b'\r' | 0xc2 => self.held = Some(byte),
                        b'\n' => shown.push(byte),
                        byte if byte.is_ascii_control() => shown.extend(REPLACEMENT),
                        byte => shown.push(byte),
                    }
                }
            }
        }
        self.out.write_all(&shown)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_replaced_however_the_text_is_cut() {
        let given = "a\u{1b}[2Jb\u{9b}31m\u{7f}\r\nc\td\re\u{a9}ø\u{200b}𝄞\n";
        let shown = "a\u{fffd}[2Jb\u{fffd}31m\u{fffd}\r\nc\u{fffd}d\u{fffd}e\u{a9}ø\u{200b}𝄞\n";
        for size in 1..=given.len() {
            let mut out = Visible { out: Vec::new(), held: None };
            for piece in given.as_bytes().chunks(size) {
                assert!(out.write_all(piece).is_ok());
            }
            assert_eq!(String::from_utf8_lossy(&out.out), shown, "{size}");
        }
        assert_eq!(visible("a\u{1b}[0m\nb\u{85}"), "a\u{fffd}[0m\u{fffd}b\u{fffd}");
    }
}
