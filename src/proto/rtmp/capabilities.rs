//! What a client says it can do in connect (Enhanced RTMP v2, "Enhancing NetConnection connect"), and our answer.

use crate::wire::amf0::{self, Object, Value};

/// Mask bit: can decode.
pub const CAN_DECODE: u8 = 1;
/// Mask bit: can forward.
pub const CAN_FORWARD: u8 = 4;
/// capsEx bit: understands reconnect requests.
pub const CAPS_RECONNECT: u32 = 1;
/// capsEx bit: understands multitrack.
pub const CAPS_MULTITRACK: u32 = 2;
/// capsEx bit: understands ModEx.
pub const CAPS_MODEX: u32 = 4;
/// capsEx bit: understands nanosecond offsets.
pub const CAPS_NANO_OFFSET: u32 = 8;
/// What we do: all of it passes through, and [`super::ServerSession::request_reconnect`] asks clients to move.
pub const CAPS_OURS: u32 = CAPS_RECONNECT | CAPS_MULTITRACK | CAPS_MODEX | CAPS_NANO_OFFSET;
/// Codecs kept of each list or map; the specification knows a dozen.
const CODECS_MAX: usize = 32;

/// A codec, or all of them (`*`), and what the client can do with it ([`CAN_DECODE`] | 2 encode | [`CAN_FORWARD`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FourCcMask {
    /// The FourCC; `None` for `*`.
    pub four_cc: Option<[u8; 4]>,
    /// The mask.
    pub mask: u8,
}

/// What a client advertised. A client that advertised nothing gets everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlayerCapabilities {
    /// `fourCcList` (v1), each with the mask "decode".
    pub four_cc_list: Vec<FourCcMask>,
    /// `videoFourCcInfoMap`.
    pub video: Vec<FourCcMask>,
    /// `audioFourCcInfoMap`.
    pub audio: Vec<FourCcMask>,
    /// `capsEx`; `None` if absent.
    pub caps_ex: Option<u32>,
}

impl PlayerCapabilities {
    /// Reads the command object of connect. Anything odd in it counts as not said.
    pub fn from_connect(command: &Object) -> PlayerCapabilities {
        let list = match command.get("fourCcList") {
            Some(Value::StrictArray(items)) => {
                items.iter().filter_map(|item| entry(item.as_str()?, CAN_DECODE)).take(CODECS_MAX).collect()
            }
            _ => Vec::new(),
        };
        let map = |key| match command.get(key).and_then(Value::as_object) {
            Some(map) => map
                .0
                .iter()
                .filter_map(|(name, mask)| entry(name, mask.as_number()? as u8))
                .take(CODECS_MAX)
                .collect(),
            None => Vec::new(),
        };
        PlayerCapabilities {
            four_cc_list: list,
            video: map("videoFourCcInfoMap"),
            audio: map("audioFourCcInfoMap"),
            caps_ex: command.get("capsEx").and_then(Value::as_number).map(|caps| caps as u32),
        }
    }

    /// Whether the client used any word of Enhanced RTMP.
    pub fn is_enhanced(&self) -> bool {
        *self != PlayerCapabilities::default()
    }

    /// Whether video with Enhanced headers of this FourCC may be sent. Legacy codecs need no such leave.
    pub fn accepts_video(&self, four_cc: [u8; 4]) -> bool {
        self.accepts(&self.video, four_cc)
    }

    /// Whether audio with Enhanced headers of this FourCC may be sent. Legacy codecs need no such leave.
    pub fn accepts_audio(&self, four_cc: [u8; 4]) -> bool {
        self.accepts(&self.audio, four_cc)
    }

    /// Whether the client follows reconnect requests.
    pub fn reconnects(&self) -> bool {
        self.caps_ex.is_some_and(|caps| caps & CAPS_RECONNECT != 0)
    }

    /// The map of the medium decides; without one the list of v1; without any everything goes.
    fn accepts(&self, map: &[FourCcMask], four_cc: [u8; 4]) -> bool {
        let table = if map.is_empty() { &self.four_cc_list } else { map };
        let useful = |entry: &FourCcMask| {
            entry.four_cc.is_none_or(|known| known == four_cc) && entry.mask & (CAN_DECODE | CAN_FORWARD) != 0
        };
        table.is_empty() || table.iter().any(useful)
    }

    /// Heap bytes held.
    pub fn heap_bytes(&self) -> usize {
        let entries = self.four_cc_list.capacity() + self.video.capacity() + self.audio.capacity();
        entries * size_of::<FourCcMask>()
    }

    /// Appends the members of our answer to an open AMF0 object: nothing unless the client spoke Enhanced RTMP.
    pub(super) fn write_answer(&self, out: &mut Vec<u8>) {
        if !self.is_enhanced() {
            return;
        }
        amf0::write_object_key(out, "capsEx");
        amf0::write_number(out, f64::from(CAPS_OURS));
        if !self.four_cc_list.is_empty() {
            amf0::write_object_key(out, "fourCcList");
            Value::StrictArray(vec![Value::from("*")]).encode(out);
        }
        for key in ["videoFourCcInfoMap", "audioFourCcInfoMap"] {
            amf0::write_object_key(out, key);
            amf0::write_object_start(out);
            amf0::write_object_key(out, "*");
            amf0::write_number(out, f64::from(CAN_FORWARD));
            amf0::write_object_end(out);
        }
    }
}

fn entry(name: &str, mask: u8) -> Option<FourCcMask> {
    match name {
        "*" => Some(FourCcMask { four_cc: None, mask }),
        _ => Some(FourCcMask { four_cc: Some(name.as_bytes().try_into().ok()?), mask }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(members: &[(&str, Value)]) -> PlayerCapabilities {
        let members = members.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        PlayerCapabilities::from_connect(&Object(members))
    }

    fn list(names: &[&str]) -> (&'static str, Value) {
        ("fourCcList", Value::StrictArray(names.iter().map(|n| Value::from(*n)).collect()))
    }

    fn map(key: &'static str, entries: &[(&str, f64)]) -> (&'static str, Value) {
        let entries = entries.iter().map(|(k, m)| ((*k).to_owned(), Value::Number(*m))).collect();
        (key, Value::Object(Object(entries)))
    }

    #[test]
    fn what_a_player_accepts() {
        let video = |entries: &[(&str, f64)]| map("videoFourCcInfoMap", entries);
        let audio = |entries: &[(&str, f64)]| map("audioFourCcInfoMap", entries);
        // members, accepts hvc1 video, accepts Opus audio
        let rows = [
            (vec![], true, true),
            (vec![("capsEx", Value::Number(3.0))], true, true),
            (vec![list(&["hvc1", "av01"])], true, false),
            (vec![list(&["*"])], true, true),
            (vec![list(&["av01", "toolong"])], false, false),
            (vec![video(&[("hvc1", 1.0)])], true, true),
            (vec![video(&[("hvc1", 2.0)])], false, true), // encodes only
            (vec![video(&[("av01", 1.0)]), audio(&[("*", 4.0)])], false, true),
            (vec![list(&["hvc1"]), audio(&[("Opus", 7.0)])], true, true),
            (vec![("fourCcList", Value::Null)], true, true),
        ];
        for (members, hevc, opus) in rows {
            let capabilities = connect(&members);
            let got = (capabilities.accepts_video(*b"hvc1"), capabilities.accepts_audio(*b"Opus"));
            assert_eq!(got, (hevc, opus), "{members:?}");
        }
    }

    #[test]
    fn only_enhanced_clients_get_an_enhanced_answer() {
        let answer = |members: &[(&str, Value)]| {
            let mut out = vec![3];
            connect(members).write_answer(&mut out);
            amf0::write_object_end(&mut out);
            let keys = match &amf0::decode_all(&out).expect("valid")[..] {
                [Value::Object(object)] => object.0.iter().map(|(k, _)| k.clone()).collect::<Vec<_>>(),
                other => panic!("{other:?}"),
            };
            keys.join(" ")
        };
        assert_eq!(answer(&[]), "");
        assert_eq!(answer(&[("capsEx", Value::Number(1.0))]), "capsEx videoFourCcInfoMap audioFourCcInfoMap");
        assert_eq!(answer(&[list(&["*"])]), "capsEx fourCcList videoFourCcInfoMap audioFourCcInfoMap");
    }
}
