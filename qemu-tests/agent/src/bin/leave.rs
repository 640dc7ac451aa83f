//! A PID 1 that ends at once, which no kernel survives.

fn main() {}
