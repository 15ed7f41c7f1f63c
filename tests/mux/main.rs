//! Channels at constant rate, held to the gates of a headend by readers that share no line with the multiplexer. Only
//! positions count: no clock is asked, and every run gives the same bytes.

#[path = "../support/channel.rs"]
mod channel;
#[path = "../support/stream.rs"]
#[allow(dead_code, reason = "the parts that other tests need")]
mod stream;
#[path = "../support/ts.rs"]
mod ts;

mod attacks;
mod decoders;
mod gates;
mod overload;
mod readers;
mod seams;
mod services;
mod sources;
mod stalls;

use channel::{MS, Report, Source, Track, read, read_with_gaps};
use headgate::media::Mono;
use headgate::monitor::{Monitor, Options};
use headgate::mux::{Multiplex, Mux, Service, queue_packets_max};
use std::time::Duration;

/// A service that is alone.
fn alone(service: Service) -> Multiplex {
    Multiplex { services: vec![service], ..Multiplex::default() }
}

/// A channel whose clock runs by itself.
struct Channel {
    mux: Mux,
    out: Vec<u8>,
    rate: u64,
    now_us: u64,
    heap_max: usize,
}

impl Channel {
    fn new(multiplex: Multiplex) -> Channel {
        let rate = multiplex.rate_bps;
        Channel { mux: Mux::new(multiplex, Mono::ZERO), out: Vec::new(), rate, now_us: 0, heap_max: 0 }
    }

    fn of(rate_bps: u64) -> Channel {
        let service = Service { name: "Eins ä".to_owned(), ..Service::default() };
        Channel::new(Multiplex { rate_bps, nit: true, time: true, ..alone(service) })
    }

    /// Time goes on to `us`, in ticks of a millisecond.
    fn run_to(&mut self, us: u64) {
        let mut datagram = [0; 1316];
        while self.now_us < us {
            self.now_us = (self.now_us + 1000).min(us);
            let due = self.mux.position(Mono::from_micros(self.now_us));
            while self.mux.written() < due {
                self.mux.write(&mut datagram, 750_516_300 + self.now_us / 1_000_000);
                self.out.extend(datagram);
            }
        }
        self.heap_max = self.heap_max.max(self.mux.heap_bytes());
    }

    /// Feeds units that come until `us`, each when it comes.
    fn play(&mut self, source: &mut Source, us: u64) {
        loop {
            let entry = source.entry();
            self.run_to(entry.at_us);
            self.mux.feed(0, Mono::from_micros(entry.at_us), &entry.bytes);
            if entry.at_us >= us {
                return;
            }
        }
    }

    fn read(&self) -> Report {
        let report = read(&self.out, self.rate);
        report.holds_gates(&self.tables());
        report
    }

    /// Tables that it has.
    fn tables(&self) -> Vec<u8> {
        let it = self.mux.multiplex();
        let rare = [(it.nit, 0x40), (it.time, 0x70), (it.local_time.is_some(), 0x73)];
        [0x00, 0x02, 0x42]
            .into_iter()
            .chain(rare.iter().filter(|(on, _)| *on).map(|(_, table)| *table))
            .collect()
    }

    /// The monitor's verdict: indicators that were raised.
    fn raised(&self) -> Vec<&'static str> {
        let options = Options { pcr_interval_max: Duration::from_millis(40), ..Options::default() };
        let mut monitor = Monitor::new(options);
        for (n, datagram) in self.out.chunks(1316).enumerate() {
            monitor.handle_datagram(self.mux.due(n as u64), datagram);
        }
        let report = monitor.report();
        assert!(report.mux_rate.as_ref().unwrap().constant == Some(true));
        let mean = report.mux_rate.as_ref().unwrap().mean_bps;
        assert!((mean / self.rate as f64 - 1.0).abs() < 10e-6, "{mean} bit/s");
        report.indicators.iter().filter(|entry| entry.count > 0).map(|entry| entry.id).collect()
    }

    fn dropped(&self) -> u64 {
        let tally = self.mux.tally();
        tally.units_late + tally.units_overload + tally.units_without_key + tally.units_cut
    }
}

/// Pictures and sound that fill this share of a rate, in percent.
fn usual(rate: u64, percent: u64, seed: u64) -> Source {
    let audio = if rate < 4_000_000 { 96_000 } else { 192_000 };
    Source::new(vec![Track::video(rate * percent / 100 - audio), Track::audio(0x200, audio)], seed)
}
