//! Gzip as an attacker writes it, without a library.

const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Bytes in gzip, not made smaller.
pub(crate) fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = HEADER.to_vec();
    let mut blocks = bytes.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap();
        out.push(u8::from(blocks.peek().is_none()));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend(crc32(bytes).to_le_bytes());
    out.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
    out
}

/// A beginning, then so many spaces in a hundred and fiftieth of their size; the end is never written.
pub(crate) fn bomb(beginning: &[u8], spaces: usize) -> Vec<u8> {
    let mut out = HEADER.to_vec();
    let length = u16::try_from(beginning.len()).unwrap();
    out.push(0);
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend_from_slice(beginning);
    let mut bits = Bits { out, held: 0, count: 0 };
    // A block of fixed codes: one space, then "258 bytes from one byte ago" again and again.
    bits.push(0b0, 1);
    bits.push(0b01, 2);
    bits.code(0x30 + u32::from(b' '), 8);
    for _ in 0..spaces / 258 {
        bits.code(0b1100_0101, 8);
        bits.code(0, 5);
    }
    bits.out
}

struct Bits {
    out: Vec<u8>,
    held: u8,
    count: u32,
}

impl Bits {
    /// Bits, the lowest first.
    fn push(&mut self, value: u32, count: u32) {
        for at in 0..count {
            self.held |= u8::from(value >> at & 1 == 1) << self.count;
            self.count += 1;
            if self.count == 8 {
                self.out.push(self.held);
                (self.held, self.count) = (0, 0);
            }
        }
    }

    /// A code, its highest bit first.
    fn code(&mut self, value: u32, count: u32) {
        for at in (0..count).rev() {
            self.push(value >> at & 1, 1);
        }
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |mut crc, byte| {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
        crc
    })
}
