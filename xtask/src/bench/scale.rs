//! One core at its end, two cores beside one, and copies at one subscriber and at a thousand.

use super::lab::Lab;
use super::run::{Contender, Flush, Load, combine, run};
use anyhow::Result;
use serde_json::{Value, json};

/// Subscribers that one core must hold at [`CAPACITY_FLUSH`].
const CAPACITY: usize = 6000;
const CAPACITY_FLUSH: Flush = Flush::Interval(350);
/// Subscribers at which two cores stand beside one.
const CORES_AT: [usize; 2] = [1000, 2000];
/// Subscribers between which the copies of a frame must not change.
const COPIES_AT: [usize; 2] = [1, 1000];
/// Flush of both: the default.
const FLUSH: Flush = Flush::Video;

/// The runs that [`scale`] makes for one contender; a floor has only the first.
pub fn loads(contender: Contender, seconds: f64, rounds: usize) -> Vec<Load> {
    let mut loads = vec![Load::new(CAPACITY_FLUSH, CAPACITY, seconds); rounds];
    if contender.is_gateway() {
        let cores =
            CORES_AT.iter().flat_map(|&n| [one_and_two(n, seconds, false), one_and_two(n, seconds, true)]);
        loads.extend(cores.flat_map(|load| vec![load; rounds]));
        loads.extend(COPIES_AT.map(|n| Load::new(FLUSH, n, seconds)));
    }
    loads
}

fn one_and_two(subscribers: usize, seconds: f64, both_cores: bool) -> Load {
    Load { both_cores, ..Load::new(FLUSH, subscribers, seconds) }
}

/// All rows, told apart by `kind`: `capacity`, `cores`, `copies`.
pub fn scale(lab: &Lab, contenders: &[Contender], seconds: f64, rounds: usize) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    for &contender in contenders {
        let load = Load::new(CAPACITY_FLUSH, CAPACITY, seconds);
        let runs = (0..rounds).map(|_| run(lab, contender, &load)).collect::<Result<Vec<_>>>()?;
        rows.push(labelled(combine(&runs), "capacity", contender, &load));
    }
    let gateway: Vec<Contender> = contenders.iter().copied().filter(|c| c.is_gateway()).collect();
    for &contender in &gateway {
        for subscribers in CORES_AT {
            let mut runs = [Vec::new(), Vec::new()];
            for _ in 0..rounds {
                for (both, runs) in [false, true].into_iter().zip(&mut runs) {
                    runs.push(run(lab, contender, &one_and_two(subscribers, seconds, both))?);
                }
            }
            let [one, two] = runs.map(|runs| combine(&runs));
            let row = json!({ "one": one, "two": two });
            rows.push(labelled(row, "cores", contender, &one_and_two(subscribers, seconds, true)));
        }
        for subscribers in COPIES_AT {
            let load = Load::new(FLUSH, subscribers, seconds);
            rows.push(labelled(run(lab, contender, &load)?, "copies", contender, &load));
        }
    }
    Ok(rows)
}

fn labelled(mut row: Value, kind: &str, contender: Contender, load: &Load) -> Value {
    row["kind"] = json!(kind);
    row["server"] = json!(contender.name());
    row["subscribers"] = json!(load.subscribers);
    row["flush"] = json!(load.flush.name());
    row
}
