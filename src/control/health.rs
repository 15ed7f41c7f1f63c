//! What load balancers and orchestrators ask: alive, ready, started.
//!
//! The thread that paces channels is asked like a core, where there are channels.

use crate::edge::admission::Admission;
use crate::edge::shed::Level;
use crate::media::Mono;
use crate::observe::Registry;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A core whose loop has not turned for this long is stuck; without work it turns once a second.
const STUCK: Duration = Duration::from_secs(2);

/// A core that has never turned is still starting for so long: it makes its ring and its buffers, many of them at a time.
const STARTING: Duration = Duration::from_secs(30);

/// The control thread looks four times a second.
const PAUSE: Duration = Duration::from_secs(1);

/// A core's count of turns, as last seen, and when it last grew.
#[derive(Clone, Copy, Debug)]
struct Pulse {
    turns: u64,
    grew_at: Mono,
    /// A pause since then was not counted; the next one is.
    forgiven: bool,
}

impl Pulse {
    /// Behind a `pause` in which nobody looked.
    fn look(&mut self, now: Mono, turns: u64, pause: Duration) {
        if turns != self.turns {
            *self = Pulse { turns, grew_at: now, forgiven: false };
        } else if !pause.is_zero() && !self.forgiven {
            (self.grew_at, self.forgiven) = (self.grew_at + pause, true);
        }
    }

    fn is_stuck(&self, now: Mono) -> bool {
        now.since(self.grew_at) > if self.turns == 0 { STARTING } else { STUCK }
    }
}

/// One question and its answer.
#[derive(Debug)]
struct Check {
    name: String,
    /// What is wrong.
    fault: Option<String>,
}

impl Check {
    fn new(name: impl Into<String>, fault: Option<String>) -> Check {
        Check { name: name.into(), fault }
    }
}

/// The state behind the probes.
#[derive(Debug)]
pub(super) struct Health {
    registry: Arc<Registry>,
    door: Arc<Admission>,
    ready: Arc<AtomicBool>,
    was_ready: AtomicBool,
    pulses: Mutex<Pulses>,
}

/// The cores' pulses, and when somebody last looked at them.
#[derive(Debug)]
struct Pulses {
    looked_at: Mono,
    of: Vec<Pulse>,
}

impl Health {
    pub(super) fn new(
        registry: Arc<Registry>,
        door: Arc<Admission>,
        ready: Arc<AtomicBool>,
        now: Mono,
    ) -> Health {
        let of = turns(&registry).map(|_| Pulse { turns: 0, grew_at: now, forgiven: false }).collect();
        let pulses = Mutex::new(Pulses { looked_at: now, of });
        Health { registry, door, ready, was_ready: AtomicBool::new(false), pulses }
    }

    /// Looks at the cores; to be called a few times a second, so that a core that has just stopped is not taken for one
    /// that stopped when somebody last asked.
    pub(super) fn look(&self, now: Mono) {
        let mut pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        // When nobody has looked for that long the whole process stood still, the cores with it.
        let pause = Some(now.since(pulses.looked_at)).filter(|pause| *pause >= PAUSE).unwrap_or_default();
        pulses.looked_at = now;
        for (pulse, turns) in pulses.of.iter_mut().zip(turns(&self.registry)) {
            pulse.look(now, turns, pause);
        }
        if self.ready.load(Ordering::Acquire) {
            self.was_ready.store(true, Ordering::Relaxed);
        }
    }

    /// `/livez`: every core's loop turns, and the pacer's. If not, only a restart helps.
    pub(super) fn live(&self, now: Mono, verbose: bool) -> Response {
        self.look(now);
        let pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        // Cores end one after the other, and what does not end in time is ended.
        let draining = self.was_ready.load(Ordering::Relaxed) && !self.ready.load(Ordering::Acquire);
        let cores = self.registry.cores.len();
        let checks = pulses.of.iter().enumerate().map(|(at, pulse)| {
            let fault = (!draining && pulse.is_stuck(now))
                .then(|| format!("no turn for {} ms", now.since(pulse.grew_at).as_millis()));
            Check::new(if at < cores { format!("core {at}") } else { "pacer".to_owned() }, fault)
        });
        answer("ok", &checks.collect::<Vec<_>>(), verbose)
    }

    /// `/readyz`: new viewers are welcome.
    pub(super) fn ready(&self, verbose: bool) -> Response {
        let serving = self.ready.load(Ordering::Acquire);
        let level = self.door.level();
        let mut checks = vec![
            Check::new("serving", (!serving).then(|| "starting or draining".to_owned())),
            Check::new(
                "load",
                (level > Level::Open).then(|| format!("overloaded, shed level {}", level.number())),
            ),
        ];
        if let Some(ticks) = pacer_turns(&self.registry) {
            checks.push(Check::new("pacer", (ticks == 0).then(|| "no channel is sent yet".to_owned())));
        }
        answer("ready", &checks, verbose)
    }

    /// `/startupz`: it was ready once.
    pub(super) fn started(&self, now: Mono, verbose: bool) -> Response {
        self.look(now);
        let fault = (!self.was_ready.load(Ordering::Relaxed)).then(|| "starting".to_owned());
        answer("started", &[Check::new("serving", fault)], verbose)
    }
}

/// How often each loop has turned: the cores', and behind them the pacer's if there are channels.
fn turns(registry: &Registry) -> impl Iterator<Item = u64> {
    registry.cores.iter().map(|core| core.metrics.turns.get()).chain(pacer_turns(registry))
}

fn pacer_turns(registry: &Registry) -> Option<u64> {
    (!registry.channels.is_empty()).then(|| registry.pacer.ticks.get())
}

/// 200 and `good` if no check has a fault, else 503 and the faults; with every check if `verbose`, one a line.
fn answer(good: &str, checks: &[Check], verbose: bool) -> Response {
    let mut body = String::new();
    for Check { name, fault } in checks {
        match fault {
            Some(fault) => body += &format!("[-] {name}: {fault}\n"),
            None if verbose => body += &format!("[+] {name}\n"),
            None => {}
        }
    }
    match checks.iter().any(|check| check.fault.is_some()) {
        true => (StatusCode::SERVICE_UNAVAILABLE, format!("{body}not {good}\n")).into_response(),
        false => (StatusCode::OK, format!("{body}{good}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(cores: &[usize]) -> Health {
        let door = Admission::new(&crate::config::Limits::default(), 100);
        Health::new(Registry::new(cores), door, Arc::default(), Mono::ZERO)
    }

    fn at(ms: u64) -> Mono {
        Mono::from_micros(ms * 1000)
    }

    fn text(response: Response) -> (u16, String) {
        let (head, body) = response.into_parts();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bytes = runtime.block_on(axum::body::to_bytes(body, 1 << 20)).unwrap();
        (head.status.as_u16(), String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// Looks as the watch does, up to then.
    fn watch(health: &Health, ms: std::ops::Range<u64>) {
        ms.step_by(250).for_each(|ms| health.look(at(ms)));
    }

    #[test]
    fn a_core_that_does_not_turn_is_named() {
        let health = health(&[0, 1]);
        let turn = |core: usize| health.registry.cores[core].metrics.turns.inc();
        let live = |ms| text(health.live(at(ms), false));
        assert_eq!(live(60_000).0, 200, "still starting");
        turn(0);
        turn(1);
        assert_eq!(live(60_250), (200, "ok\n".to_owned()));
        watch(&health, 60_500..61_500);
        turn(1);
        watch(&health, 61_500..62_250);
        assert_eq!(live(62_250).0, 200);
        assert_eq!(live(62_251), (503, "[-] core 0: no turn for 2001 ms\nnot ok\n".to_owned()));
        let verbose = text(health.live(at(62_750), true)).1;
        assert_eq!(verbose, "[-] core 0: no turn for 2500 ms\n[+] core 1\nnot ok\n");
        turn(0);
        assert_eq!(live(62_850).0, 200, "the question itself looks");
        watch(&health, 63_000..65_000);
        assert_eq!(live(65_000).0, 503);
    }

    #[test]
    fn a_core_that_never_turns_is_named_too() {
        let health = health(&[0, 1]);
        health.registry.cores[0].metrics.turns.inc();
        let live = |ms| text(health.live(at(ms), false));
        for ms in (0..30_000).step_by(250) {
            health.registry.cores[0].metrics.turns.inc();
            assert_eq!(live(ms).0, 200, "{ms}");
        }
        health.registry.cores[0].metrics.turns.inc();
        assert_eq!(live(30_001), (503, "[-] core 1: no turn for 30001 ms\nnot ok\n".to_owned()));
    }

    #[test]
    fn a_process_that_stood_still_or_drains_has_no_stuck_core() {
        let health = health(&[0]);
        let live = |ms| text(health.live(at(ms), false)).0;
        health.ready.store(true, Ordering::Release);
        health.registry.cores[0].metrics.turns.inc();
        watch(&health, 1000..2000);
        assert_eq!(live(62_000), 200, "all of it stood still");
        watch(&health, 62_000..64_500);
        assert_eq!(live(64_500), 503, "and then the core alone");
        assert_eq!(live(84_500), 503, "one pause is forgiven, not each");
        health.ready.store(false, Ordering::Release);
        assert_eq!(live(84_600), 200, "it has drained, others have not");
    }

    #[test]
    fn a_pacer_is_asked_like_a_core() {
        let door = Admission::new(&crate::config::Limits::default(), 100);
        let registry = Registry::with_headend(
            &[0],
            vec![crate::observe::ChannelSlot::default()],
            Vec::new(),
            usize::MAX,
        );
        let health = Health::new(registry.clone(), door, Arc::new(AtomicBool::new(true)), Mono::ZERO);
        let core = || registry.cores[0].metrics.turns.inc();
        let late = "[-] pacer: no channel is sent yet\nnot ready\n".to_owned();
        assert_eq!(text(health.ready(false)), (503, late));
        for ms in (0..=30_000).step_by(250) {
            core();
            assert_eq!(text(health.live(at(ms), false)).0, 200, "{ms}");
        }
        core();
        let stuck = |ms: u64| (503, format!("[-] pacer: no turn for {ms} ms\nnot ok\n"));
        assert_eq!(text(health.live(at(30_001), false)), stuck(30_001), "it never turned");
        registry.pacer.ticks.inc();
        assert_eq!(text(health.live(at(30_250), true)), (200, "[+] core 0\n[+] pacer\nok\n".to_owned()));
        assert_eq!(text(health.ready(true)).1, "[+] serving\n[+] load\n[+] pacer\nready\n");
        for ms in (30_500..32_300).step_by(250) {
            core();
            health.look(at(ms));
        }
        core();
        assert_eq!(text(health.live(at(32_251), false)), stuck(2001), "and then no more");
    }

    #[test]
    fn ready_while_serving_and_below_the_first_level() {
        let health = health(&[0]);
        let ready = || text(health.ready(false));
        let started = || text(health.started(Mono::ZERO, false)).0;
        assert_eq!(ready(), (503, "[-] serving: starting or draining\nnot ready\n".to_owned()));
        assert_eq!(started(), 503);
        health.ready.store(true, Ordering::Release);
        assert_eq!((ready(), started()), ((200, "ready\n".to_owned()), 200));
        health.door.set_level(Mono::ZERO, Level::RefuseViewers);
        assert_eq!(ready(), (503, "[-] load: overloaded, shed level 1\nnot ready\n".to_owned()));
        assert_eq!(
            text(health.ready(true)).1,
            "[+] serving\n[-] load: overloaded, shed level 1\nnot ready\n"
        );
        health.door.set_level(Mono::ZERO, Level::Open);
        health.ready.store(false, Ordering::Release);
        assert_eq!((ready().0, started()), (503, 200), "draining");
    }
}
