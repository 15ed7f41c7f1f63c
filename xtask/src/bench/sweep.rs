//! The sweep: every flush mode and number of subscribers, floor and gateway in turn.

use super::lab::Lab;
use super::run::{Contender, Flush, Load, combine, run};
use super::{table, table_extras};
use anyhow::Result;
use serde_json::{Value, json};

/// One row of the sweep.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// How messages gather.
    pub flush: Flush,
    /// Subscribers.
    pub subscribers: usize,
    /// All video frames of one size.
    pub equal_frames: bool,
}

impl Cell {
    /// Its load.
    pub fn load(&self, seconds: f64) -> Load {
        Load { equal_frames: self.equal_frames, ..Load::new(self.flush, self.subscribers, seconds) }
    }
}

/// What the gates of the project ask for.
pub fn full() -> Vec<Cell> {
    let modes = [Flush::Frame, Flush::Video, Flush::Interval(50), Flush::Interval(100), Flush::Interval(350)];
    let cell = |flush, subscribers, equal_frames| Cell { flush, subscribers, equal_frames };
    let mut cells: Vec<Cell> = modes
        .into_iter()
        .flat_map(|flush| [100, 500, 1000, 2000, 4000].map(|subscribers| cell(flush, subscribers, false)))
        .collect();
    cells.extend([Flush::Frame, Flush::Video].map(|flush| cell(flush, 1000, true)));
    cells
}

/// A few minutes' worth, to see that everything runs.
pub fn quick() -> Vec<Cell> {
    let cell = |flush, subscribers| Cell { flush, subscribers, equal_frames: false };
    vec![cell(Flush::Frame, 100), cell(Flush::Video, 500), cell(Flush::Interval(100), 1000)]
}

/// Where nginx stands beside: the default flush at two sizes.
pub fn against_nginx() -> Vec<Cell> {
    [1000, 2000].map(|subscribers| Cell { flush: Flush::Video, subscribers, equal_frames: false }).to_vec()
}

/// How often a cell is measured.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// Of every cell.
    pub all: usize,
    /// Further ones of a cell that misses a gate after those; the median of all counts.
    pub missed: usize,
}

/// A cell with what each contender gave in each round.
struct Measured<'a> {
    cell: &'a Cell,
    results: Vec<Vec<Value>>,
    rounds: usize,
}

/// Measures every cell with all contenders in turn; the floor of a row is its cheaper form. `store` gets the rows so far
/// after each.
pub fn sweep(
    lab: &Lab,
    cells: &[Cell],
    contenders: &[Contender],
    seconds: f64,
    rounds: Rounds,
    store: impl Fn(&[Value]) -> Result<()>,
) -> Result<Vec<Value>> {
    let mut measured: Vec<Measured> = Vec::new();
    let rows = |measured: &[Measured]| -> Vec<Value> { measured.iter().map(|m| m.row(contenders)).collect() };
    for cell in cells {
        let mut next = Measured { cell, results: vec![Vec::new(); contenders.len()], rounds: 0 };
        next.more(lab, contenders, seconds, rounds.all)?;
        if table::misses(&next.row(contenders)).is_some_and(|misses| !misses.is_empty()) {
            next.more(lab, contenders, seconds, rounds.missed)?;
        }
        measured.push(next);
        store(&rows(&measured))?;
    }
    // This gate is one of two cells together.
    let rising = table_extras::rising(&rows(&measured));
    let both_ends = |m: &&mut Measured| rising.contains(&m.cell.flush.name()) && m.is_end_of_rise();
    for cell in measured.iter_mut().filter(both_ends).filter(|m| m.rounds == rounds.all) {
        cell.more(lab, contenders, seconds, rounds.missed)?;
    }
    Ok(rows(&measured))
}

impl Measured<'_> {
    fn more(&mut self, lab: &Lab, contenders: &[Contender], seconds: f64, rounds: usize) -> Result<()> {
        let load = self.cell.load(seconds);
        for _ in 0..rounds {
            // Turned round each time: who comes first would always meet the machine as the row before left it.
            let mut turn: Vec<_> = contenders.iter().zip(&mut self.results).collect();
            if self.rounds % 2 == 1 {
                turn.reverse();
            }
            for (contender, results) in turn {
                results.push(run(lab, *contender, &load)?);
            }
            self.rounds += 1;
        }
        Ok(())
    }

    fn is_end_of_rise(&self) -> bool {
        !self.cell.equal_frames && table_extras::RISE.map(|n| n as usize).contains(&self.cell.subscribers)
    }

    fn row(&self, contenders: &[Contender]) -> Value {
        let mut row = json!({
            "flush": self.cell.flush.name(),
            "subscribers": self.cell.subscribers,
            "frames": if self.cell.equal_frames { "equal" } else { "keyframes 8x" },
            "rounds": self.rounds,
        });
        for (contender, results) in contenders.iter().zip(&self.results) {
            row[contender.name()] = combine(results);
        }
        let cost = |name: &str| row[name]["cpu_us_per_message"].as_f64();
        let cheaper = match (cost("floor-send"), cost("floor-uring")) {
            (Some(send), Some(uring)) if send < uring => Some("floor-send"),
            (_, Some(_)) => Some("floor-uring"),
            (Some(_), None) => Some("floor-send"),
            (None, None) => None,
        };
        if let Some(name) = cheaper {
            row["floor"] = row[name].clone();
            row["floor"]["form"] = json!(name);
        }
        row
    }
}
