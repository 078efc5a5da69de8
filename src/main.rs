//! The one binary: arguments in, exit status out.

use std::process::ExitCode;

/// jemalloc keeps fragmentation flat under many short-lived batches, and RocksDB shares it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    blindtally::cli::run()
}
