//! Fuzzes [`entry::multiplex::mux`].
#![no_main]

#[path = "../entry.rs"]
#[allow(dead_code, reason = "each target uses one of the entry functions")]
mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::multiplex::mux(data));
