//! Runs one target.
//!
//! Built by `cargo xtask fuzz` it is a libFuzzer program, and the target is in the variable `CSM_FUZZ_TARGET`. Built as
//! anything else it shows a finding again: `cargo run -p csm-fuzz -- TARGET FILE…`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
mod fuzzer {
    use std::sync::LazyLock;

    use csm_fuzz::Target;

    static TARGET: LazyLock<&Target> = LazyLock::new(|| {
        let name = std::env::var("CSM_FUZZ_TARGET").unwrap_or_default();
        csm_fuzz::target(&name).unwrap_or_else(|| panic!("CSM_FUZZ_TARGET={name:?}: no such target"))
    });

    libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.run)(data));
}

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(target) = args.next().and_then(|name| csm_fuzz::target(&name)) else {
        let names: Vec<&str> = csm_fuzz::TARGETS.iter().map(|t| t.name).collect();
        eprintln!("usage: csm-fuzz TARGET FILE…, where TARGET is one of {}", names.join(", "));
        return std::process::ExitCode::from(2);
    };
    for path in args {
        match std::fs::read(&path) {
            Ok(input) => (target.run)(&input),
            Err(error) => {
                eprintln!("cannot read {path}: {error}");
                return std::process::ExitCode::FAILURE;
            }
        }
        println!("{path}: holds");
    }
    std::process::ExitCode::SUCCESS
}
