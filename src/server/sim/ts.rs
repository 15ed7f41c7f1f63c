//! What an HTTP-TS viewer holds its bytes to. Read by hand: a parser of the product's would share its mistakes.

use std::collections::BTreeMap;

/// Bytes of a packet.
const PACKET: usize = 188;

/// See the module's description.
#[derive(Debug, Default)]
pub struct TsAudit {
    /// Of a packet that is not whole yet.
    rest: Vec<u8>,
    /// The last counter of each PID.
    counters: BTreeMap<u16, u8>,
    /// A packet with payload has come.
    begun: bool,
    /// Packets so far.
    pub packets: u64,
    /// Times that a discontinuity was announced.
    pub jumps: u32,
}

impl TsAudit {
    /// Takes what came; says what is wrong with it.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.rest.extend(bytes);
        let rest = self.rest.split_off(self.rest.len() / PACKET * PACKET);
        let packets = std::mem::replace(&mut self.rest, rest);
        packets.chunks(PACKET).try_for_each(|packet| self.packet(packet))
    }

    /// Whether no packet is cut short.
    pub fn is_whole(&self) -> bool {
        self.rest.is_empty()
    }

    fn packet(&mut self, packet: &[u8]) -> Result<(), String> {
        let [sync, high, low, control, length, flags, ..] = *packet else { return Ok(()) };
        let (number, pid, counter) = (self.packets, u16::from_be_bytes([high & 0x1f, low]), control & 15);
        let (adapts, pays) = (control & 0x20 != 0, control & 0x10 != 0);
        self.packets += 1;
        let this = format!("packet {number} (PID {pid:#x})");
        if sync != 0x47 || high & 0x80 != 0 || !(adapts || pays) {
            return Err(format!("{this} begins with {:02x?}", &packet[..4]));
        }
        if adapts && length > if pays { 182 } else { 183 } {
            return Err(format!("{this} has an adaptation field of {length} bytes"));
        }
        // Who comes from another log may be sent announcements in front.
        if pays && !std::mem::replace(&mut self.begun, true) && (pid != 0 || high & 0x40 == 0) {
            return Err(format!("{this} comes first, and no PAT"));
        }
        let announced = adapts && length > 0 && flags & 0x80 != 0;
        let before = self.counters.insert(pid, counter);
        // Without payload it does not count.
        let due = before.map(|before| if pays { (before + 1) & 15 } else { before });
        if announced {
            self.jumps += u32::from(pid == 0);
        } else if due.is_some_and(|due| due != counter) {
            return Err(format!("{this} has counter {counter} behind {before:?}, and nothing announced it"));
        }
        Ok(())
    }
}

#[test]
fn the_reader_sees_what_it_should() {
    let packet = |pid: u8, control: u8, length: u8, flags: u8| {
        let mut packet = vec![0x47, 0x40, pid, control, length, flags];
        packet.resize(PACKET, 0xff);
        packet
    };
    let pat = |counter: u8| packet(0, 0x10 | counter, 0, 0);
    let jump = |counter: u8| packet(0, 0x20 | counter, 183, 0x80);
    for (packets, fails) in [
        (vec![pat(15), pat(0), packet(1, 0x13, 0, 0)], false),
        (vec![pat(3), jump(9), pat(10)], false),
        (vec![jump(9), pat(10)], false),
        (vec![jump(9), packet(1, 0x10, 0, 0)], true),
        (vec![pat(3), pat(5)], true),
        (vec![pat(3), jump(9), pat(11)], true),
        (vec![pat(3), packet(0, 0x24, 183, 0)], true),
        (vec![packet(1, 0x10, 0, 0)], true),
        (vec![pat(3), vec![0; PACKET]], true),
        (vec![pat(3), packet(1, 0x30, 183, 0)], true),
    ] {
        let mut audit = TsAudit::default();
        let bytes = packets.concat();
        let read = bytes.chunks(100).try_for_each(|piece| audit.read(piece));
        assert_eq!(read.is_err(), fails, "{read:?}");
        assert!(fails || audit.is_whole());
    }
    let mut cut = TsAudit::default();
    assert!(cut.read(&pat(0)[..187]).is_ok() && !cut.is_whole());
}
