//! Once a stream runs, a packet costs neither its sender nor its receiver an allocation: losses and repairs included.

use headgate::config::Fec;
use headgate::media::Mono;
use headgate::proto::rtp_ts::{FecEncoder, Options, Receiver, Sender};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The system's allocator, counting.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The only test of this binary: another one's allocations would be counted too.
#[test]
fn packets_cost_no_allocation() {
    let mut sender = Sender::new(7, 60_000);
    let fec = Fec { columns: 10, rows: 10, row_packets: true, staggered: false };
    let mut encoder = FecEncoder::new(fec, 1, 2);
    let mut receiver = Receiver::new(Options { wait: Duration::from_millis(50), fec: true });
    let (mut datagram, mut given) = ([0x47; 12 + 1316], 0u64);
    let mut run = |packets: std::ops::Range<u64>| {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for n in packets {
            let now = Mono::from_micros(n * 2632);
            datagram[..12].copy_from_slice(&sender.header(n * 2632 * 27));
            // Single losses and bursts: both kinds of repair packets wait for others.
            if n % 97 != 5 && n % 500 > 6 {
                receiver.push(0, now, &datagram);
            }
            encoder.push(&datagram, |_, repair| receiver.push_fec(now, repair));
            while receiver.pop(now).is_some() {
                given += 1;
            }
        }
        (ALLOCATIONS.load(Ordering::Relaxed) - before, given)
    };
    assert!(run(0..1000).0 > 0, "the counter counts");
    let (allocations, given) = run(1000..20_000);
    assert_eq!(allocations, 0);
    let tally = receiver.tally();
    assert!(given > 19_900 && tally.repaired > 400, "{tally:?}");
}
