//! The heart: logs, views, cursors, and the stream that feeds them. Never a socket, never a clock of its own.
//!
//! [`segment`] holds bytes, [`mod@slice`] is a piece of it that leaves; [`log`] writes them in order, [`packager`] in which shape; [`stream`] takes a publisher's
//! frames to every open log; [`flush`] decides when readers look; [`view`] is what a core sees of a log and where a
//! subscriber stands in it; [`timeline`] is stream time; [`directory`] finds a stream by name.

pub mod directory;
pub mod flush;
pub mod log;
pub mod packager;
pub mod segment;
pub mod slice;
pub mod stream;
pub mod sync;
pub mod timeline;
pub mod view;
