//! What the door and the watch over the machine count; written by the control thread alone.

use super::cells::{Counter, Gauge, Ratio};
use super::families::Families;
use super::labels::{PerShedCause, ShedCause};

/// Admission and overload.
#[derive(Debug, Default)]
pub struct DoorMetrics {
    /// 0 to 3: how much load is shed.
    pub shed_level: Gauge,
    /// Used parts of what load is shed for; 1 is all.
    pub pressure: PerShedCause<Ratio>,
    /// Connections that neither publish nor play.
    pub unauthenticated: Gauge,
    /// Addresses in the table.
    pub addresses: Gauge,
    /// Memory of the table, in bytes.
    pub address_table_bytes: Gauge,
    /// Addresses that were forgotten early, because others needed their room.
    pub addresses_evicted: Counter,
    /// Connections that were let in without being counted for their address.
    pub connections_untracked: Counter,
}

impl DoorMetrics {
    pub(super) fn collect(&self, page: &mut Families) {
        page.gauge(
            "headgate_shed_level",
            "How much load is shed: 0 none, 1 new viewers are refused, 2 slow viewers are closed, 3 nobody is accepted.",
            self.shed_level.get() as f64,
        );
        page.gauges(
            "headgate_pressure_ratio",
            "Used part of what load is shed for; levels begin at 0.85, 0.92 and 0.97. 0 without a bound.",
            ShedCause::ALL.map(|c| (vec![("cause", c.as_str())], self.pressure[c].get())),
        );
        page.gauge(
            "headgate_connections_unauthenticated",
            "Open connections that neither publish nor play.",
            self.unauthenticated.get() as f64,
        );
        page.gauge(
            "headgate_addresses",
            "Addresses whose connections and pace are remembered.",
            self.addresses.get() as f64,
        );
        page.gauge(
            "headgate_address_table_bytes",
            "Memory of the table of addresses in bytes.",
            self.address_table_bytes.get() as f64,
        );
        page.counter(
            "headgate_addresses_evicted_total",
            "Addresses that were forgotten early, because others needed their room.",
            self.addresses_evicted.get(),
        );
        page.counter(
            "headgate_connections_untracked_total",
            "Connections that were not counted for their address, because the table was full of connected ones.",
            self.connections_untracked.get(),
        );
    }
}
