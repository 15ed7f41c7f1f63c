//! What is raised, and how often, when and where it was.

use crate::media::Mono;

/// An indicator of ETSI TR 101 290 (section 5.2) or of the network below the transport stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Indicator {
    /// No packet at all for [`super::SILENCE`]. While it lasts nothing else is raised.
    Silence,
    /// RTP sequence numbers did not come in time; once for each run of them. Whether they came later the figures say.
    RtpLoss,
    /// Two RTP senders send at the same time, by their SSRC or by numbers that are far apart; raised once a second. One
    /// of them is followed.
    RtpSenders,
    /// 1.1: two sync bytes in a row were wrong. Until five in a row are right nothing else is raised.
    SyncLoss,
    /// 1.2: a sync byte is not 0x47.
    SyncByte,
    /// 1.3.a: no PAT for 500 ms, another table on its PID, or its PID is scrambled.
    Pat,
    /// 1.4: packets of a PID are lost, repeated more than once or out of order.
    Continuity,
    /// 1.5.a: a program map of the PAT is absent for 500 ms, or its PID is scrambled.
    Pmt,
    /// 1.6: a stream of pictures or sound that a program map names is absent.
    Pid,
    /// 2.1: a packet is marked as damaged by the receiver in front of us.
    Transport,
    /// 2.2: the CRC of a table does not fit.
    Crc,
    /// 2.3.a: two PCRs are further apart than the limit.
    PcrRepetition,
    /// 2.3.b: the PCR steps, and nothing announced it.
    PcrDiscontinuity,
    /// 2.4: a PCR is more than 500 ns off the constant rate.
    PcrAccuracy,
    /// 2.5: no PTS for 700 ms.
    Pts,
    /// 2.6: packets are scrambled and there is no CAT, or another table is on its PID.
    Cat,
    /// 3.2: a table of service information comes too rarely or too often.
    SiRepetition,
    /// 3.4.a: a PID that no table names.
    UnreferencedPid,
}

impl Indicator {
    /// All of them, in the order of a report.
    pub const ALL: [Indicator; 18] = [
        Indicator::Silence,
        Indicator::RtpLoss,
        Indicator::RtpSenders,
        Indicator::SyncLoss,
        Indicator::SyncByte,
        Indicator::Pat,
        Indicator::Continuity,
        Indicator::Pmt,
        Indicator::Pid,
        Indicator::Transport,
        Indicator::Crc,
        Indicator::PcrRepetition,
        Indicator::PcrDiscontinuity,
        Indicator::PcrAccuracy,
        Indicator::Pts,
        Indicator::Cat,
        Indicator::SiRepetition,
        Indicator::UnreferencedPid,
    ];

    /// Its number in TR 101 290, or a word where that has none. Stable: alarms and JSON use it.
    pub const fn id(self) -> &'static str {
        match self {
            Indicator::Silence => "silence",
            Indicator::RtpLoss => "rtp_loss",
            Indicator::RtpSenders => "rtp_senders",
            Indicator::SyncLoss => "1.1",
            Indicator::SyncByte => "1.2",
            Indicator::Pat => "1.3",
            Indicator::Continuity => "1.4",
            Indicator::Pmt => "1.5",
            Indicator::Pid => "1.6",
            Indicator::Transport => "2.1",
            Indicator::Crc => "2.2",
            Indicator::PcrRepetition => "2.3a",
            Indicator::PcrDiscontinuity => "2.3b",
            Indicator::PcrAccuracy => "2.4",
            Indicator::Pts => "2.5",
            Indicator::Cat => "2.6",
            Indicator::SiRepetition => "3.2",
            Indicator::UnreferencedPid => "3.4",
        }
    }

    /// Its name in TR 101 290.
    pub const fn name(self) -> &'static str {
        match self {
            Indicator::Silence => "no packets",
            Indicator::RtpLoss => "RTP packets lost",
            Indicator::RtpSenders => "two RTP senders",
            Indicator::SyncLoss => "TS_sync_loss",
            Indicator::SyncByte => "Sync_byte_error",
            Indicator::Pat => "PAT_error_2",
            Indicator::Continuity => "Continuity_count_error",
            Indicator::Pmt => "PMT_error_2",
            Indicator::Pid => "PID_error",
            Indicator::Transport => "Transport_error",
            Indicator::Crc => "CRC_error",
            Indicator::PcrRepetition => "PCR_repetition_error",
            Indicator::PcrDiscontinuity => "PCR_discontinuity_indicator_error",
            Indicator::PcrAccuracy => "PCR_accuracy_error",
            Indicator::Pts => "PTS_error",
            Indicator::Cat => "CAT_error",
            Indicator::SiRepetition => "SI_repetition_error",
            Indicator::UnreferencedPid => "Unreferenced_PID",
        }
    }

    /// 0: the network, else the priority of TR 101 290. 0 to 2 are errors, 3 depends on the application.
    pub const fn priority(self) -> u8 {
        match self {
            Indicator::Silence | Indicator::RtpLoss | Indicator::RtpSenders => 0,
            Indicator::SyncLoss
            | Indicator::SyncByte
            | Indicator::Pat
            | Indicator::Continuity
            | Indicator::Pmt
            | Indicator::Pid => 1,
            Indicator::Transport
            | Indicator::Crc
            | Indicator::PcrRepetition
            | Indicator::PcrDiscontinuity
            | Indicator::PcrAccuracy
            | Indicator::Pts
            | Indicator::Cat => 2,
            Indicator::SiRepetition | Indicator::UnreferencedPid => 3,
        }
    }
}

/// One occurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// Packets in front of it.
    pub packet: u64,
    /// When it was found.
    pub at: Mono,
    /// The PID that it is about, if it is about one.
    pub pid: Option<u16>,
}

/// How often something was raised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Occurrences.
    pub count: u64,
    /// The first.
    pub first: Option<Occurrence>,
    /// The last.
    pub last: Option<Occurrence>,
}

/// A tally for each indicator.
#[derive(Clone, Debug, Default)]
pub(super) struct Tallies {
    each: [Tally; Indicator::ALL.len()],
    /// Occurrences of all of them.
    pub all: u64,
}

impl Tallies {
    pub fn raise(&mut self, indicator: Indicator, found: Occurrence) {
        // The discriminants are the places in ALL.
        if let Some(tally) = self.each.get_mut(indicator as usize) {
            tally.count += 1;
            self.all += 1;
            tally.first.get_or_insert(found);
            tally.last = Some(found);
        }
    }

    pub fn of(&self, indicator: Indicator) -> Tally {
        self.each.get(indicator as usize).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_indicator_has_a_place_and_an_id_of_its_own() {
        let mut tallies = Tallies::default();
        for (n, indicator) in Indicator::ALL.into_iter().enumerate() {
            assert_eq!(indicator as usize, n, "{indicator:?}");
            for packet in [7, 9] {
                tallies.raise(indicator, Occurrence { packet, at: Mono::ZERO, pid: Some(n as u16) });
            }
        }
        assert_eq!(tallies.all, 2 * Indicator::ALL.len() as u64);
        let mut ids: Vec<_> = Indicator::ALL.map(Indicator::id).to_vec();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), Indicator::ALL.len());
        let tally = tallies.of(Indicator::Crc);
        assert_eq!(
            (tally.count, tally.first.map(|o| o.packet), tally.last.map(|o| o.packet)),
            (2, Some(7), Some(9))
        );
        assert_eq!(tally.first.and_then(|o| o.pid), Some(Indicator::Crc as u16));
    }
}
