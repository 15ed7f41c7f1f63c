//! The lock-free parts of headgate under the loom model checker.
//!
//! The files are those of the product, compiled here a second time with the checker's atomics, cells and `Arc` in the
//! place of the standard ones ([`fanout::sync`]). The models stand in `tests/`, each with the mistakes it was seen to
//! find; it runs in every order that the memory model allows, as far as the checker knows it:
//!
//! - A thread's own instructions stay in place: a load may return an old value, but stores are not swapped, and a
//!   read-modify-write meets the newest value. So the orderings of a mark's summary are argued in `marks.rs`, and not
//!   checked here: only the order of its instructions is.
//! - `SeqCst` is exact for fences, and taken as `AcqRel` for loads and stores.
//! - Raw pointers are out of its sight. Layout and aliasing of the log's bytes are Miri's (`cargo xtask miri`).

pub mod fanout;
pub mod shard;
