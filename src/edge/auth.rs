//! Static keys: one to publish and one to play, for each app.

use crate::config::{Config, Secret};
use std::sync::{Arc, Mutex, PoisonError};

/// Query parameters that carry a key; the first is what the documentation names.
const PARAMETERS: [&str; 2] = ["token", "key"];

/// Decides who may publish and play. Clones are one gate, shared by all cores; locked at publish and play only.
#[derive(Clone, Debug)]
pub struct Gate {
    config: Arc<Mutex<Arc<Config>>>,
    /// As it was at the start: what channels and inputs have changes with a restart only, and this is to go with it.
    av1: bool,
}

impl Gate {
    /// A gate that follows `config`.
    pub fn new(config: Arc<Config>) -> Gate {
        let av1 = config.headend.av1;
        Gate { config: Arc::new(Mutex::new(config)), av1 }
    }

    /// Follows another configuration from now on (reload).
    pub fn replace(&self, config: Arc<Config>) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// The configuration that holds now.
    pub fn config(&self) -> Arc<Config> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether somebody who shows `query` may publish to `app`.
    pub fn may_publish(&self, app: &str, query: &str) -> bool {
        admits(self.config().app(app).publish_key.as_ref(), query)
    }

    /// Whether somebody who shows `query` may play from `app`.
    pub fn may_play(&self, app: &str, query: &str) -> bool {
        admits(self.config().app(app).play_token.as_ref(), query)
    }

    /// Whether players of `app` get no Metadata and MultichannelConfig packets unless they ask.
    pub fn strips(&self, app: &str) -> bool {
        self.config().app(app).eflv_strip
    }

    /// Whether AV1 stands in transport streams.
    pub fn av1_in_ts(&self) -> bool {
        self.av1
    }
}

fn admits(secret: Option<&Secret>, query: &str) -> bool {
    let Some(secret) = secret else { return true };
    PARAMETERS.iter().any(|name| parameter(query, name).is_some_and(|shown| secret.matches(&shown)))
}

/// The percent-decoded value of `name` in `a=b&c=d`.
pub fn parameter(query: &str, name: &str) -> Option<Vec<u8>> {
    let value = query.split('&').find_map(|pair| pair.split_once('=').filter(|(n, _)| *n == name))?.1;
    let mut bytes = value.bytes();
    let mut out = Vec::with_capacity(value.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |b: Option<u8>| char::from(b?).to_digit(16);
                (digit(bytes.next())? * 16 + digit(bytes.next())?) as u8
            }
            byte => byte,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may() {
        let text = "[apps.live]\npublish_key = \"a.b~\"\nplay_token = \"t\"\n\
                    [apps.\"live/own\"]\npublish_key = \"own\"\n[apps.\"live/open\"]\npublish_key = \"\"\n";
        let gate = Gate::new(Arc::new(Config::parse(text, "test").unwrap()));
        // (app, query, may publish, may play)
        let rows = [
            ("live", "", false, false),
            ("live", "token=t", false, true),
            ("live", "key=t", false, true),
            ("live", "token=T", false, false),
            ("live", "token=tt", false, false),
            ("live", "a=1&token=a%2Eb%7e", true, false),
            ("live", "token=a.b~&x", true, false),
            ("live", "token=a.b", false, false),
            ("live", "token=%", false, false),
            // Below an app its keys hold, until a table of its own says otherwise.
            ("live/room", "", false, false),
            ("live/room", "token=a.b~", true, false),
            ("live/room/a", "token=t", false, true),
            ("live/own", "token=a.b~", false, false),
            ("live/own", "token=own", true, false),
            ("live/own/a", "token=own", true, false),
            ("live/own", "token=t", false, true),
            ("live/open", "", true, false),
            ("live/owner", "token=own", false, false),
            ("lively", "", true, true),
            ("other/live", "", true, true),
            ("other", "", true, true),
        ];
        for (app, query, publish, play) in rows {
            assert_eq!(gate.may_publish(app, query), publish, "publish {app}?{query}");
            assert_eq!(gate.may_play(app, query), play, "play {app}?{query}");
        }
    }
}
