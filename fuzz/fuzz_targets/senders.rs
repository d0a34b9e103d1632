#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| surehook_fuzz::senders(data));
