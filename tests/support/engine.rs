//! The engines that tests of behaviour run on.

use super::sandbox::io_uring_works;
use super::server::Config;
use super::skip;

/// An engine by its name on the command line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Engine {
    Uring,
    Epoll,
}

impl Engine {
    /// A configuration for this engine; `None` (and a reported skip) where the kernel refuses io_uring.
    pub fn config(self) -> Option<Config> {
        if self == Engine::Uring && !io_uring_works() {
            skip("no-io-uring", "the kernel refuses io_uring");
            return None;
        }
        let name = if self == Engine::Uring { "uring" } else { "epoll" };
        Some(Config::new().arguments(&["--engine", name]))
    }
}

/// A configuration for the first engine that works here.
pub fn first_that_works() -> Config {
    [Engine::Uring, Engine::Epoll].into_iter().find_map(Engine::config).expect("epoll works everywhere")
}

/// Makes two tests, `uring::NAME` and `epoll::NAME`, of each function that takes a [`Config`].
macro_rules! engine_tests {
    ($($name:ident),+ $(,)?) => {
        mod uring {
            $(#[test]
            fn $name() {
                let _shared = crate::support::share_machine();
                if let Some(config) = crate::support::engine::Engine::Uring.config() {
                    super::$name(config);
                }
            })+
        }
        mod epoll {
            $(#[test]
            fn $name() {
                let _shared = crate::support::share_machine();
                if let Some(config) = crate::support::engine::Engine::Epoll.config() {
                    super::$name(config);
                }
            })+
        }
    };
}

pub(crate) use engine_tests;
