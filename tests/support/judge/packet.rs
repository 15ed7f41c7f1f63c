//! One packet of 188 bytes, read by the drawing in ISO/IEC 13818-1, 2.4.3.2 to 2.4.3.5.

pub const PACKET_BYTES: usize = 188;
pub const NULL_PID: u16 = 0x1FFF;

/// What a packet says.
#[derive(Clone, Debug, Default)]
pub struct Packet<'a> {
    pub error: bool,
    pub starts: bool,
    pub pid: u16,
    pub scrambled: bool,
    pub counter: u8,
    pub has_payload: bool,
    pub discontinuity: bool,
    pub random_access: bool,
    /// 27 MHz.
    pub pcr: Option<u64>,
    pub payload: &'a [u8],
}

impl Packet<'_> {
    /// Reads a packet whose sync byte is right; what is wrong with its adaptation field otherwise.
    pub fn read(bytes: &[u8; PACKET_BYTES]) -> Result<Packet<'_>, String> {
        let mut packet = Packet {
            error: bytes[1] & 0x80 != 0,
            starts: bytes[1] & 0x40 != 0,
            pid: u16::from_be_bytes([bytes[1] & 0x1F, bytes[2]]),
            scrambled: bytes[3] & 0xC0 != 0,
            counter: bytes[3] & 0x0F,
            has_payload: bytes[3] & 0x10 != 0,
            ..Packet::default()
        };
        let has_field = bytes[3] & 0x20 != 0;
        let mut from = 4;
        if has_field {
            let length = usize::from(bytes[4]);
            let fits = if packet.has_payload { length <= 182 } else { length == 183 };
            if !fits {
                return Err(format!("an adaptation field of {length} bytes on PID {:#x}", packet.pid));
            }
            from = 5 + length;
            packet.field(&bytes[5..from])?;
        } else if !packet.has_payload {
            return Err(format!("neither payload nor adaptation field on PID {:#x}", packet.pid));
        }
        packet.payload = if packet.has_payload { &bytes[from..] } else { &[] };
        Ok(packet)
    }

    fn field(&mut self, field: &[u8]) -> Result<(), String> {
        let Some(&flags) = field.first() else { return Ok(()) };
        self.discontinuity = flags & 0x80 != 0;
        self.random_access = flags & 0x40 != 0;
        if flags & 0x10 != 0 {
            let clock = field.get(1..7).ok_or("an adaptation field too short for its PCR")?;
            let value = clock.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
            let extension = value & 0x1FF;
            if extension >= 300 {
                return Err(format!("a PCR extension of {extension}"));
            }
            self.pcr = Some((value >> 15) * 300 + extension);
        }
        Ok(())
    }
}

/// The counter of one PID.
#[derive(Clone, Debug, Default)]
pub struct Counter {
    last: Option<[u8; PACKET_BYTES]>,
    /// The last packet was the one legal repetition.
    repeated: bool,
}

/// What a counter makes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It goes on.
    Next,
    /// The last packet once more, as the standard allows: to be ignored.
    Duplicate,
    /// Something is missing, or in the wrong order.
    Hole,
}

impl Counter {
    /// Takes the next packet of the PID.
    pub fn take(&mut self, bytes: &[u8; PACKET_BYTES], packet: &Packet<'_>) -> Order {
        let Some(last) = self.last.replace(*bytes) else { return Order::Next };
        let repeated = std::mem::take(&mut self.repeated);
        let before = last[3] & 0x0F;
        if packet.discontinuity {
            return Order::Next;
        }
        if !packet.has_payload {
            return if packet.counter == before { Order::Next } else { Order::Hole };
        }
        if packet.counter == (before + 1) & 0x0F {
            return Order::Next;
        }
        if packet.counter == before && !repeated && same_but_clock(&last, bytes, packet.pcr.is_some()) {
            self.repeated = true;
            return Order::Duplicate;
        }
        Order::Hole
    }
}

/// A repetition is the same to the last byte, but for the value of a PCR.
fn same_but_clock(one: &[u8; PACKET_BYTES], other: &[u8; PACKET_BYTES], has_pcr: bool) -> bool {
    if has_pcr { one[..6] == other[..6] && one[12..] == other[12..] } else { one == other }
}
