//! Arguments go in, an exit code comes out; everything else is the library's.

use std::process::ExitCode;

fn main() -> ExitCode {
    passgate::doors::cli::run(std::env::args_os())
}
