//! What stands between the open network and a core: who may do what. (Admission limits, PROXY protocol and drain by
//! load balancer join it here.)
#![forbid(unsafe_code)]

pub mod auth;
