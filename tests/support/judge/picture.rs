//! Which NAL units an access unit of H.264 or HEVC holds (ITU-T H.264 and H.265, annex B), as far as tuning in needs it.

/// What stands in an access unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// The first NAL unit is a delimiter.
    pub delimiter_first: bool,
    /// An IDR picture, or another random access picture of HEVC.
    pub random_access: bool,
    /// A recovery point instead, as encoders without IDR pictures send it.
    pub recovery: bool,
    /// All parameter sets stand in front of the first slice.
    pub parameters: bool,
}

/// Reads an access unit; `None`: the stream type has no such rules here.
pub fn read(stream_type: u8, unit: &[u8]) -> Option<Picture> {
    match stream_type {
        0x1B => Some(avc(&starts(unit))),
        0x24 => Some(hevc(&starts(unit))),
        _ => None,
    }
}

/// What follows each start code. Most of a picture has no byte 1 for a while, which is quick to see.
fn starts(unit: &[u8]) -> Vec<&[u8]> {
    const STRETCH: usize = 64;
    let stretches = unit.chunks(STRETCH).enumerate().filter(|(_, stretch)| stretch.contains(&1));
    let ones = stretches
        .flat_map(|(n, stretch)| (n * STRETCH..n * STRETCH + stretch.len()).filter(|at| unit[*at] == 1));
    ones.filter(|at| unit[..*at].ends_with(&[0, 0]))
        .map(|at| &unit[at + 1..])
        .filter(|nal| !nal.is_empty())
        .collect()
}

fn avc(nals: &[&[u8]]) -> Picture {
    let kinds: Vec<u8> = nals.iter().map(|nal| nal[0] & 0x1F).collect();
    let slice = kinds.iter().position(|kind| matches!(kind, 1..=5)).unwrap_or(kinds.len());
    Picture {
        delimiter_first: kinds.first() == Some(&9),
        random_access: kinds.contains(&5),
        recovery: nals.iter().any(|nal| nal[0] & 0x1F == 6 && nal.get(1) == Some(&6)),
        parameters: [7, 8].iter().all(|kind| kinds[..slice].contains(kind)),
    }
}

fn hevc(nals: &[&[u8]]) -> Picture {
    let kinds: Vec<u8> = nals.iter().map(|nal| nal[0] >> 1 & 0x3F).collect();
    let slice = kinds.iter().position(|kind| *kind < 32).unwrap_or(kinds.len());
    Picture {
        delimiter_first: kinds.first() == Some(&35),
        random_access: kinds.iter().any(|kind| matches!(kind, 16..=21)),
        recovery: nals.iter().any(|nal| nal[0] >> 1 & 0x3F == 39 && nal.get(2) == Some(&6)),
        parameters: [32, 33, 34].iter().all(|kind| kinds[..slice].contains(kind)),
    }
}
