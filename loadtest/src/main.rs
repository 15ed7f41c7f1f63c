//! headgate-load: puts load on a live media server and measures what its viewers get.
fn main() {}
