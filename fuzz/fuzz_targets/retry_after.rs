//! See ../invariant.rs: the gate's tests hold the same.
#![no_main]

#[path = "../invariant.rs"]
mod invariant;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariant::retry_after(bytes));
