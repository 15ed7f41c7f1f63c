//! Inputs of the simulation: senders of transport streams that lose datagrams, fall silent and come back, and the clerk, who
//! gives the inputs sockets and takes them away as links come and go.

use super::clients::encoded;
use crate::config::Config;
use crate::fanout::stream::CoreId;
use crate::ingest::udp;
use crate::shard::core::Shared;
use crate::shard::engine::sim::{Rng, World};
use crate::shard::mailbox::{Command, SocketId};
use crate::wire::ts::write::packet::{Adaptation, Counter, UnitWriter, write_section};
use crate::wire::ts::write::pes::PesHeader;
use crate::wire::ts::write::section::{Component, pat, pmt};
use std::net::SocketAddr;

/// Between two pictures, in microseconds and in ticks of 90 kHz.
const PICTURE_US: u64 = 40_000;
const PICTURE_TICKS: u64 = 3600;
/// Bytes of a datagram of seven packets.
const DATAGRAM_BYTES: usize = 7 * 188;
/// Datagrams that a socket holds; more are lost.
const SOCKET_DATAGRAMS: usize = 64;
/// Parameter sets of 64 x 64 pictures.
const PARAMETERS: [u8; 20] =
    [0, 0, 0, 1, 0x67, 0x42, 0xC0, 0x1E, 0xDA, 0x05, 0x07, 0xC4, 0, 0, 0, 1, 0x68, 0xCE, 0x3C, 0x80];
/// Sockets of one origin, as its inputs count them.
const PER_ORIGIN: u32 = 3;

/// The tables of a seed's inputs: of the name that publishers have too, with a backup.
pub fn tables(rng: &mut Rng) -> String {
    let names = &["a", "b"][..rng.within(1..3) as usize];
    let mut text = String::new();
    for (n, name) in names.iter().enumerate() {
        let from: Vec<String> = (0..2).map(|at| format!("udp://127.0.0.1:{}", 5000 + 10 * n + at)).collect();
        let failover_ms = rng.pick(&[100, 200, 400]);
        text +=
            &format!("[[input]]\nstream = \"live/{name}\"\nfrom = {from:?}\nfailover_ms = {failover_ms}\n");
    }
    text
}

/// Who sends to one origin.
#[derive(Debug)]
struct Sender {
    resident: u32,
    socket: u32,
    opening: u32,
    core: CoreId,
    /// What viewers know it by.
    number: u16,
    /// Where its datagrams go; `None` while nothing listens.
    port: Option<usize>,
    from: SocketAddr,
    next_us: u64,
    until_us: u64,
    /// Nothing is sent between these moments.
    silent: (u64, u64),
    /// Nothing listens between these: the link is gone.
    deaf: (u64, u64),
    lost_percent: u64,
    gop: u32,
    bytes: usize,
    pictures: u32,
    counters: [Counter; 3],
}

/// All senders, and the clerk.
#[derive(Debug, Default)]
pub struct Inputs {
    senders: Vec<Sender>,
}

impl Inputs {
    /// Two senders for each input, which send until `until_us`.
    pub fn new(
        config: &Config,
        plans: &[udp::Plan],
        (from_us, until_us): (u64, u64),
        rng: &mut Rng,
    ) -> Inputs {
        let mut senders = Vec::new();
        for (resident, (plan, input)) in (0..).zip(plans.iter().zip(&config.inputs)) {
            for at in 0..input.from.len() as u32 {
                let mut pause = |least: u64| {
                    let begin = from_us + rng.within(0..until_us - from_us);
                    if rng.chance(50) { (begin, begin + least + rng.within(1000..900_000)) } else { (0, 0) }
                };
                let (silent, deaf) = (pause(1000), pause(100_000));
                let number = senders.len() as u16;
                senders.push(Sender {
                    resident,
                    socket: PER_ORIGIN * at,
                    opening: 0,
                    core: plan.core(),
                    // High bits in both bytes: no start code can come of it.
                    number: 0xA0A0 + number,
                    port: None,
                    from: ([10, 0, 0, 1 + at as u8], 9000 + number).into(),
                    next_us: from_us + rng.within(0..200_000),
                    until_us,
                    silent,
                    deaf,
                    lost_percent: rng.pick(&[0, 0, 1, 10]),
                    gop: rng.within(3..15) as u32,
                    bytes: rng.pick(&[40, 900, 20_000]),
                    pictures: 0,
                    counters: Default::default(),
                });
            }
        }
        Inputs { senders }
    }

    /// Whether there is one of `name`.
    pub fn publish(&self, config: &Config, name: &str) -> bool {
        config.inputs.iter().any(|input| input.stream.strip_prefix("live/") == Some(name))
    }

    /// When something happens next.
    pub fn next_at(&self) -> u64 {
        self.senders.iter().map(Sender::next_at).min().unwrap_or(u64::MAX)
    }

    /// What the clerk does, and what is sent by now.
    pub fn step(&mut self, shared: &Shared, world: &mut World) -> Result<(), String> {
        let Some(clerk) = shared.mailboxes.clerk() else { return Ok(()) };
        while let Some(command) = shared.mailboxes.take(clerk) {
            match command {
                Command::SocketFailed { id, closed: true, .. } => {
                    let its = |sender: &&mut Sender| sender.id() == id;
                    self.senders.iter_mut().filter(its).for_each(|sender| sender.port = None);
                }
                Command::SocketFailed { .. } => {}
                other => return Err(format!("the clerk is told {other:?}")),
            }
        }
        for sender in &mut self.senders {
            sender.listen(shared, world)?;
            while sender.next_us <= world.now_us.min(sender.until_us) {
                sender.picture(world);
            }
        }
        Ok(())
    }
}

impl Sender {
    fn id(&self) -> SocketId {
        SocketId { resident: self.resident, number: self.socket, opening: self.opening }
    }

    fn is_deaf(&self, now_us: u64) -> bool {
        (self.deaf.0..self.deaf.1).contains(&now_us)
    }

    fn next_at(&self) -> u64 {
        match (self.port, self.next_us <= self.until_us) {
            (_, true) => self.next_us,
            // It listens to the end, as inputs do.
            (None, false) => self.deaf.1,
            (Some(_), false) => u64::MAX,
        }
    }

    /// The clerk opens its socket, or closes it.
    fn listen(&mut self, shared: &Shared, world: &mut World) -> Result<(), String> {
        let deaf = self.is_deaf(world.now_us);
        let command = match self.port {
            Some(_) if deaf => {
                self.port = None;
                Command::Hush(self.id())
            }
            None if !deaf => {
                let (port, socket) = world.connect(0).map_err(|error| error.to_string())?;
                self.port = Some(port);
                self.opening += 1;
                Command::Listen(self.id(), socket)
            }
            _ => return Ok(()),
        };
        shared.mailboxes.send(self.core, command).map_err(|_| "a full mailbox")?;
        shared.bells.ring(self.core);
        Ok(())
    }

    /// One picture, in datagrams of which some are lost.
    fn picture(&mut self, world: &mut World) {
        let (now_us, key) = (self.next_us, self.pictures.is_multiple_of(self.gop));
        let ticks = u64::from(self.pictures) * PICTURE_TICKS;
        self.next_us += PICTURE_US;
        let unit = self.unit(key);
        self.pictures += 1;
        let mut out = Vec::new();
        let mut put = |part: &[u8]| {
            out.extend_from_slice(part);
            true
        };
        let [first, second, third] = &mut self.counters;
        if key {
            let component = Component { stream_type: 0x1B, pid: 0x100, descriptors: Vec::new() };
            let tables = (pat(1, 0, &[(1, 0x1000)]), pmt(1, 0, 0x100, &[component]));
            let (Some(pat), Some(pmt)) = tables else { return };
            assert!(write_section(0, first, &pat, &mut put) && write_section(0x1000, second, &pmt, &mut put));
        }
        // Pictures of more than that have no length.
        let header = PesHeader { stream_id: 0xE0, pts: ticks, dts: ticks }.encode(unit.len());
        let Some(header) = header else { return };
        let unit = [header.as_slice(), &unit].concat();
        let adaptation = Adaptation::default();
        assert!(UnitWriter::new(0x100, third, adaptation, unit.len()).write(&unit, &mut put));
        let silent = (self.silent.0..self.silent.1).contains(&now_us);
        let Some(port) = self.port.filter(|_| !silent) else { return };
        for datagram in out.chunks(DATAGRAM_BYTES) {
            let lost = world.rng.chance(self.lost_percent);
            let pipe = &mut world.pipes[port];
            if !lost && pipe.datagrams.len() < SOCKET_DATAGRAMS {
                pipe.datagrams.push_back((self.from, datagram.to_vec()));
            }
        }
    }

    /// The next access unit: parameter sets where it is a keyframe, and a slice that says whose it is.
    fn unit(&self, key: bool) -> Vec<u8> {
        let mut unit = if key { PARAMETERS.to_vec() } else { Vec::new() };
        unit.extend([0, 0, 0, 1, if key { 0x65 } else { 0x41 }]);
        unit.extend(encoded(self.number, self.pictures, self.bytes));
        unit
    }
}
