//! Arithmetic of HASH partitions: which hashes two moduli share.

/// The largest number that divides both.
pub fn greatest_common_divisor(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Of two moduli: after as many hashes both start anew.
pub fn least_common_multiple(a: u128, b: u128) -> u128 {
    a / greatest_common_divisor(a, b).max(1) * b
}
