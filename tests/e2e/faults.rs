//! What breaks around a gateway: links, peers, clocks, descriptors, memory, processors, the process itself. Each row has
//! its line in docs/reliability.md, with the times that are only guarded here.

mod clock;
mod links;
mod machine;
mod peers;
mod restart;
