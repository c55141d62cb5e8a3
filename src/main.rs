//! The end of the process.

fn main() {}
