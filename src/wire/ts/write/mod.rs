//! Writing transport streams: packets, sections, descriptors, PES headers, and what codecs look like in them.
//!
//! Lives here: bytes only. Whoever writes decides which tables come when, what the clock says and which PIDs there are.
//! Nothing allocates per packet: a unit of known length is handed over in parts and goes, with the headers between,
//! to the caller's `put`. Follows ISO/IEC 13818-1 and ETSI EN 300 468 (tables of DVB).

pub mod adts;
pub mod annexb;
pub mod av1;
pub mod descriptor;
pub mod latm;
pub mod opus;
pub mod packet;
pub mod pes;
pub mod section;
pub mod time;
