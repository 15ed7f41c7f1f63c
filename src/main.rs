//! The thin binary: arguments -> command -> exit code.
fn main() {}
