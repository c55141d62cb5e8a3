//! The end of the process: the command line in, an exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    understory_sync::app::main(std::env::args_os())
}
