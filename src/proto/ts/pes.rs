//! PES packets put together from the packets of one PID (ISO/IEC 13818-1 section 2.4.3.6).
//!
//! A unit ends where its length says, or where the next begins. One that lost a packet is dropped as a whole: what a
//! decoder makes of the rest is worse than what it makes of nothing.

use super::Tally;
use crate::media::Mono;
use crate::wire::ts::packet::Packet;
use crate::wire::ts::pes::PesHeader;

/// Bytes in front of what `PES_packet_length` counts.
const LENGTH_END: usize = 6;

/// A whole PES packet.
#[derive(Debug)]
pub(super) struct Unit<'a> {
    pub header: PesHeader,
    /// The elementary stream's bytes.
    pub payload: &'a [u8],
    /// Of its first packet: `random_access_indicator`.
    pub random_access: bool,
    /// When its first packet came.
    pub first_at: Mono,
}

/// What a packet did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Did {
    /// Nothing is whole.
    Nothing,
    /// A unit is whole: [`Reassembly::take`] it, and push the packet again.
    WholeBefore,
    /// A unit is whole with this packet: [`Reassembly::take`] it.
    Whole,
    /// A unit was given up, and it was one to begin with or may have been.
    LostKey,
    /// A unit was given up.
    Lost,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Between units.
    #[default]
    Idle,
    /// In one that was given up.
    Broken,
    Open,
    Whole,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Reassembly {
    bytes: Vec<u8>,
    bytes_max: usize,
    state: State,
    random_access: bool,
    first_at: Mono,
    continuity: Option<u8>,
    /// Payload of the last packet; one that comes again has the same.
    last: Vec<u8>,
    /// Between units packets were lost, right in front of the one at hand.
    behind_gap: bool,
    /// The source paused for so long that whatever it lost may have been anything.
    doubted: bool,
}

impl Reassembly {
    pub fn new(bytes_max: usize) -> Reassembly {
        Reassembly {
            bytes: Vec::new(),
            bytes_max,
            state: State::Idle,
            random_access: false,
            first_at: Mono::ZERO,
            continuity: None,
            last: Vec::new(),
            behind_gap: false,
            doubted: false,
        }
    }

    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.last.capacity()
    }

    /// Looks at the counter of a packet with payload, once for each packet. False: it came before, and is to be ignored.
    pub fn count(&mut self, packet: &Packet<'_>, tally: &mut Tally) -> (bool, Did) {
        let before = self.continuity.replace(packet.continuity);
        let doubted = std::mem::take(&mut self.doubted);
        let same = self.last == packet.payload;
        self.last.clear();
        self.last.extend_from_slice(packet.payload);
        match before {
            Some(before) if !packet.discontinuity() && before == packet.continuity && same => {
                tally.repeated += 1;
                (false, Did::Nothing)
            }
            Some(before) if !packet.discontinuity() && (before + 1) & 0x0F != packet.continuity => {
                tally.lost += 1;
                self.behind_gap = self.state == State::Idle;
                let did = self.give_up(tally);
                (true, if doubted { Did::LostKey } else { did })
            }
            _ => (true, Did::Nothing),
        }
    }

    /// The source paused: what is lost when it goes on may have been a unit to begin with.
    pub fn doubt(&mut self) {
        self.doubted = true;
    }

    /// Drops the unit at hand, whose rest will not come.
    fn give_up(&mut self, tally: &mut Tally) -> Did {
        if matches!(self.state, State::Idle | State::Broken) {
            return Did::Nothing;
        }
        self.state = State::Broken;
        tally.damaged += 1;
        self.bytes.clear();
        if self.random_access { Did::LostKey } else { Did::Lost }
    }

    /// What comes next is of another source: its counter says nothing about what came before.
    pub fn restart(&mut self) {
        (self.state, self.continuity) = (State::Idle, None);
        (self.behind_gap, self.doubted) = (false, false);
        self.bytes.clear();
    }

    /// Reads a packet with payload that [`Reassembly::count`] let pass.
    pub fn push(&mut self, now: Mono, packet: &Packet<'_>, tally: &mut Tally) -> Did {
        let behind_gap = std::mem::take(&mut self.behind_gap);
        if packet.unit_start {
            if self.state == State::Open {
                // Of a length that was not reached: the rest was never sent.
                self.state = State::Whole;
                return Did::WholeBefore;
            }
            self.state = State::Open;
            self.bytes.clear();
            self.first_at = now;
            self.random_access = packet.adaptation.is_some_and(|field| field.random_access);
        } else if self.state != State::Open {
            if !behind_gap {
                return Did::Nothing;
            }
            // The rest of a unit whose first packet is lost, and with it what says whether it was one to begin with.
            self.state = State::Broken;
            tally.damaged += 1;
            return Did::LostKey;
        }
        if self.bytes.len() + packet.payload.len() > self.bytes_max {
            tally.too_large += 1;
            self.state = State::Broken;
            // Its memory goes too: nothing in use needs as much.
            self.bytes = Vec::new();
            return Did::LostKey;
        }
        self.bytes.extend_from_slice(packet.payload);
        match self.expected() {
            Some(bytes) if self.bytes.len() >= bytes => {
                self.bytes.truncate(bytes);
                self.state = State::Whole;
                Did::Whole
            }
            _ => Did::Nothing,
        }
    }

    /// The source has stopped: what is there of a unit without a length is all of it.
    pub fn flush(&mut self) -> Did {
        if self.state == State::Open && self.expected().is_none() {
            self.state = State::Whole;
            return Did::Whole;
        }
        Did::Nothing
    }

    /// Bytes of the whole packet, if it tells.
    fn expected(&self) -> Option<usize> {
        let [0, 0, 1, _, high, low, ..] = *self.bytes.as_slice() else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        (length > 0).then_some(LENGTH_END + length)
    }

    /// The elementary stream's bytes in the unit that is whole.
    pub fn peek(&self) -> Option<&[u8]> {
        let header = PesHeader::parse(&self.bytes).filter(|_| self.state == State::Whole)?;
        self.bytes.get(header.header_bytes..)
    }

    /// The unit that is whole, to be read before the next packet is pushed.
    pub fn take(&mut self, tally: &mut Tally) -> Option<Unit<'_>> {
        if std::mem::take(&mut self.state) != State::Whole {
            return None;
        }
        let header = PesHeader::parse(&self.bytes);
        let payload = header.and_then(|header| self.bytes.get(header.header_bytes..));
        let (Some(header), Some(payload)) = (header, payload) else {
            tally.malformed += 1;
            return None;
        };
        if header.scrambling != 0 {
            tally.scrambled += 1;
            return None;
        }
        Some(Unit { header, payload, random_access: self.random_access, first_at: self.first_at })
    }
}
