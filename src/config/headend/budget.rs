//! The link budget: what all channels send on an interface against what the link behind it carries.

use super::place::{Destination, Transport};
use crate::config::Config;
use crate::config::diagnostic::Violation;
use crate::config::validate::wrong;
use std::collections::BTreeMap;

/// Bytes of transport stream in a datagram: seven packets.
const PAYLOAD_BYTES: u64 = 7 * 188;
/// Bytes a frame takes on the link besides what UDP carries: preamble 8, Ethernet 14, checksum 4, gap 12, and UDP's 8.
const FRAME_BYTES: u64 = 8 + 14 + 4 + 12 + 8;
const IPV4_BYTES: u64 = 20;
const IPV6_BYTES: u64 = 40;
const RTP_BYTES: u64 = 12;
/// Header of a repair packet behind that of RTP (SMPTE ST 2022-1 section 8.4).
const FEC_BYTES: u64 = 16;
/// Percent of a link that may be planned: the rest is for control, bursts and whoever else is there.
const LINK_PERCENT_MAX: u64 = 90;

/// Bits a second that a channel of `bitrate_bps` puts on the link for `to`.
pub(super) fn wire_bps(bitrate_bps: u64, to: &Destination) -> u64 {
    let rtp = if to.transport == Transport::Rtp { RTP_BYTES } else { 0 };
    let head = FRAME_BYTES + rtp + if to.address.is_ipv6() { IPV6_BYTES } else { IPV4_BYTES };
    let frame = PAYLOAD_BYTES + head;
    let (media, repair) = match to.fec {
        Some(fec) => (u64::from(fec.packets()).max(1), u64::from(fec.repair_packets())),
        None => (1, 0),
    };
    // One matrix: its media packets and its repair packets, which carry one RTP packet each.
    let bytes = u128::from(media * frame + repair * (frame + FEC_BYTES + RTP_BYTES));
    let bps = u128::from(bitrate_bps) * bytes / u128::from(media * PAYLOAD_BYTES);
    u64::try_from(bps).unwrap_or(u64::MAX)
}

/// Refuses the first destination with which its link carries more than [`LINK_PERCENT_MAX`] percent.
pub(super) fn check(config: &Config) -> Result<(), Violation> {
    let mut planned: BTreeMap<&str, u64> = BTreeMap::new();
    for (index, channel) in config.channels.iter().enumerate() {
        for (at, to) in channel.to.iter().enumerate() {
            let Some((interface, &mbit)) =
                to.interface.as_ref().and_then(|name| config.headend.link_mbit.get_key_value(name))
            else {
                continue;
            };
            let sum = planned.entry(interface).or_default();
            *sum = sum.saturating_add(wire_bps(channel.bitrate_bps, to));
            let most = u64::from(mbit) * 1_000_000 / 100 * LINK_PERCENT_MAX;
            if *sum > most {
                let message = format!(
                    "with channel `{}` {interface} would carry {:.1} Mbit/s with headers and FEC, more than \
                     {LINK_PERCENT_MAX} % of its {mbit} Mbit/s",
                    channel.name,
                    *sum as f64 / 1e6
                );
                let hint =
                    "send fewer or smaller channels on it, or set what the link carries in headend.link_mbit";
                return Err(wrong(
                    &["channel", &index.to_string(), "to", &at.to_string()],
                    message,
                    hint.to_owned(),
                ));
            }
        }
    }
    Ok(())
}
