#![no_main]

#[path = "../oracles/mod.rs"]
mod oracles;

/// 256 MiB: a reader that needs more for an input of this size trusts it too much.
#[global_allocator]
static MEMORY: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, 256 << 20);

libfuzzer_sys::fuzz_target!(|input: &[u8]| oracles::plain::check(input));
