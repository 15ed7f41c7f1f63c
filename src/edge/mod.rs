//! What stands between the open network and a core: who may do what, and how many of them. (PROXY protocol and drain
//! by load balancer join it here.)
//!
//! [`auth`] knows keys. [`admission`] is the door: it counts by address ([`address`], [`pace`], [`table`]) and in all
//! ([`budget`]), and follows the level that [`shed`] works out of the machine's state ([`pressure`]). It is asked when
//! a connection comes, publishes, plays and goes, never while media passes.
#![forbid(unsafe_code)]

pub mod address;
pub mod admission;
pub mod auth;
pub mod budget;
pub mod pace;
pub mod pressure;
pub mod shed;
pub mod table;
