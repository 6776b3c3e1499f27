#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| toru_fuzz::pair(input));
