//! A log that this core follows: asked for at its home, fed with the home's news, given up again.
//!
//! Who reads it here, connections or channels, is not known in this file.

use super::mailbox::Command;
use crate::fanout::directory::{Directory, StreamId, StreamName, StreamStats};
use crate::fanout::log::{Feed, LogId, LogKey, LogSnapshot};
use crate::fanout::stream::CoreId;
use crate::fanout::view::View;
use std::sync::Arc;

/// A log as this core knows it. The stream makes no room for another until [`Following::unwatch`].
#[derive(Debug)]
pub(super) struct Following {
    pub name: StreamName,
    pub key: LogKey,
    pub stream: StreamId,
    /// Where the stream was when it was looked up; it may have moved since.
    pub home: CoreId,
    pub stats: Arc<StreamStats>,
    /// `None` until the home has answered.
    pub view: Option<View>,
}

impl Following {
    /// The log `key` of the stream of that name, without a view; `None` if there is no such stream.
    pub fn find(directory: &Directory, name: &StreamName, key: LogKey) -> Option<Following> {
        let (stream, home, stats) = directory.watch(name)?;
        Some(Following { name: name.clone(), key, stream, home, stats, view: None })
    }

    /// What its home is to be asked, by core `reader`.
    pub fn subscription(&self, reader: CoreId) -> Command {
        Command::Subscribe { stream: self.stream, name: self.name.clone(), key: self.key, reader }
    }

    /// The home's answer. Returns the log's identity; `None`, and nothing has changed, if there was an answer before.
    pub fn opened(&mut self, snapshot: LogSnapshot) -> Option<LogId> {
        if self.view.is_some() {
            return None;
        }
        let id = snapshot.shared.id;
        self.view = Some(View::new(snapshot));
        Some(id)
    }

    /// Takes news of stream `stream`, whose log's identity may serve another one by now. Returns whether the log has
    /// ended with them; `None` if they are not for this one.
    pub fn feed(&mut self, stream: StreamId, news: Vec<Feed>) -> Option<bool> {
        let view = self.view.as_mut().filter(|_| self.stream == stream)?;
        let ends = news.iter().any(|piece| matches!(piece, Feed::End));
        news.into_iter().for_each(|piece| view.feed(piece));
        Some(ends)
    }

    /// Whom to tell that core `reader` reads it no more; nobody if the log has ended, or was never had.
    pub fn farewell(&self, directory: &Directory, reader: CoreId) -> Option<(CoreId, Command)> {
        let view = self.view.as_ref().filter(|view| !view.ended())?;
        let found = directory.find(&self.name).filter(|found| found.0 == self.stream);
        let home = found.map_or(self.home, |found| found.1);
        Some((home, Command::Unsubscribe { stream: self.stream, log: view.shared().id, reader }))
    }

    /// It is read no more: the directory is told.
    pub fn unwatch(self, directory: &Directory) {
        directory.unwatch(&self.name, self.stream);
    }
}
