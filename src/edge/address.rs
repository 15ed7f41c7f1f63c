//! Whom an address belongs to: the unit that limits count by.

use std::net::IpAddr;

/// An IPv4 address, or the first bits of an IPv6 one, 64 at most. A machine has a network of 64 bits; a household has at
/// least that, and often one of 56 (RFC 6177).
///
/// An IPv4 address `a.b.c.d` is kept as `2002:aabb:ccdd::/64`, the first network that 6to4 (RFC 3056) gives to its
/// owner: both are one customer, and nobody else's network can be taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Block(u64);

/// The first 16 bits of every 6to4 network.
const SIX_TO_FOUR: u64 = 0x2002;

impl Block {
    /// The block of `address`. An IPv4 address in an IPv6 socket (`::ffff:192.0.2.1`) is an IPv4 address.
    /// Of an IPv6 address `prefix_bits` count, 1 to 64.
    pub fn of(address: IpAddr, prefix_bits: u8) -> Block {
        match address.to_canonical() {
            IpAddr::V4(address) => Block(SIX_TO_FOUR << 48 | u64::from(address.to_bits()) << 16),
            IpAddr::V6(address) => {
                let rest = 64 - u32::from(prefix_bits.clamp(1, 64));
                Block(((address.to_bits() >> 64) as u64) >> rest << rest)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_owner_are_one_block() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8::1", "2001:db8::ffff:1:2:3", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("192.0.2.1", "2002:c000:201::7", true),
            ("0.0.0.0", "::", false),
            ("0.0.0.1", "::1", false),
        ] {
            let [one, other] = [one, other].map(|text| Block::of(text.parse().unwrap(), 64));
            assert_eq!(one == other, same, "{one:?} {other:?}");
        }
        for (prefix_bits, same) in [(64, false), (57, false), (56, true), (48, true), (1, true)] {
            let [one, other] = ["2001:db8:0:1234::1", "2001:db8:0:12b4::1"];
            let block = |text: &str| Block::of(text.parse().unwrap(), prefix_bits);
            assert_eq!(block(one) == block(other), same, "{prefix_bits}");
        }
    }
}
