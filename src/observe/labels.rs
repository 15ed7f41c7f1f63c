//! The bounded label values of all metrics, each with a table type indexed by it.
//!
//! Add a value by adding a line: tables, page and documentation test follow.

/// An enum whose values are label values, and a table with one entry for each.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident in $table:ident { $($(#[$vdoc:meta])* $value:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $value,)+ }

        impl $name {
            /// Every value, in order of [`Self::index`].
            pub const ALL: [$name; [$($text),+].len()] = [$($name::$value),+];
            /// How many values there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The label value.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$value => $text),+ }
            }

            /// Position in [`Self::ALL`] and in tables; below [`Self::COUNT`].
            pub const fn index(self) -> usize {
                self as usize
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        #[doc = concat!("One value for each [`", stringify!($name), "`].")]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $table<T>([T; $name::COUNT]);

        impl<T> $table<T> {
            /// Fills the table.
            pub fn from_fn(mut make: impl FnMut($name) -> T) -> Self {
                Self($name::ALL.map(|value| make(value)))
            }

            /// All entries with their label.
            pub fn iter(&self) -> impl Iterator<Item = ($name, &T)> {
                $name::ALL.into_iter().zip(&self.0)
            }

            /// All entries with their label, to be changed.
            pub fn iter_mut(&mut self) -> impl Iterator<Item = ($name, &mut T)> {
                $name::ALL.into_iter().zip(&mut self.0)
            }
        }

        impl<T> std::ops::Index<$name> for $table<T> {
            type Output = T;
            #[inline]
            fn index(&self, value: $name) -> &T {
                &self.0[value.index()]
            }
        }

        impl<T> std::ops::IndexMut<$name> for $table<T> {
            #[inline]
            fn index_mut(&mut self, value: $name) -> &mut T {
                &mut self.0[value.index()]
            }
        }

        impl<T: serde::Serialize> serde::Serialize for $table<T> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.iter().map(|(label, value)| (label.as_str(), value)))
            }
        }
    };
}

labels! {
    /// What a peer speaks to us.
    Protocol in PerProtocol {
        /// RTMP over TCP.
        Rtmp = "rtmp",
        /// FLV as the endless body of an HTTP response.
        HttpFlv = "http_flv",
        /// A transport stream as the endless body of an HTTP response.
        HttpTs = "http_ts",
        /// A transport stream in datagrams.
        Udp = "udp",
    }
}

labels! {
    /// A step of the data path; the histograms' label.
    Stage in PerStage {
        /// First byte read -> frame complete.
        Ingest = "ingest",
        /// Frame complete -> committed to the log.
        Append = "append",
        /// Committed -> visible to subscribers.
        Flush = "flush",
        /// Visible -> send submitted.
        Dispatch = "dispatch",
        /// Send submitted -> accepted by the kernel.
        Send = "send",
    }
}

labels! {
    /// What a frame carries.
    FrameKind in PerFrameKind {
        /// Audio.
        Audio = "audio",
        /// Video.
        Video = "video",
        /// Script data.
        Data = "data",
    }
}

labels! {
    /// Where payload bytes are copied.
    CopyStage in PerCopyStage {
        /// Chunks of a message into one buffer.
        Ingest = "ingest",
        /// A message out of one that held several.
        Split = "split",
        /// A frame into one log.
        Append = "append",
    }
}

labels! {
    /// Why a frame reached no log.
    DropReason in PerDropReason {
        /// Sent by a publisher that another has replaced.
        OldEpoch = "old_epoch",
        /// The stream was moving to another core and its waiting room was full.
        TransitFull = "transit_full",
        /// A tag without a payload, or one too short to have a meaning.
        Malformed = "malformed",
        /// Configuration beyond its bound.
        ConfigRefused = "config_refused",
        /// Media before the first keyframe of a publisher; nobody could start there.
        BeforeKeyframe = "before_keyframe",
        /// Larger than a segment may be.
        TooLarge = "too_large",
    }
}

labels! {
    /// What load is shed for: a resource that comes to its end.
    ShedCause in PerShedCause {
        /// `overload.egress_max_bits_per_s`.
        Egress = "egress",
        /// `overload.memory_max_bytes`, or the control group's limit.
        Memory = "memory",
        /// `overload.loop_lag_ms`.
        LoopLag = "loop_lag",
        /// The process's file descriptors.
        Descriptors = "descriptors",
        /// `limits.connections_per_core`, over all cores.
        Connections = "connections",
    }
}

labels! {
    /// Why a connection was refused before it was served.
    RefuseReason in PerRefuseReason {
        /// `limits.connections_per_core` reached.
        Limit = "limit",
        /// The process has no file descriptor left.
        Descriptors = "descriptors",
        /// Too many requests for pages at once.
        Pages = "pages",
        /// The address made connections faster than `limits.connections_per_s_per_address`.
        AddressRate = "address_rate",
        /// Too many connections that neither publish nor play.
        Unauthenticated = "unauthenticated",
        /// Too many of its address.
        AddressSilent = "address_silent",
        /// Load is shed: nobody is accepted.
        Overload = "overload",
    }
}

labels! {
    /// Why a connection ended.
    DisconnectReason in PerDisconnectReason {
        /// The peer closed it or said goodbye.
        ClientClosed = "client_closed",
        /// The stream it played has ended.
        StreamEnded = "stream_ended",
        /// The peer broke its protocol.
        ProtocolError = "protocol_error",
        /// The node was full.
        Limit = "limit",
        /// The peer exceeded a bound of its protocol.
        InputLimit = "input_limit",
        /// The network failed.
        IoError = "io_error",
        /// A subscriber did not take one unit within `fanout.stall_timeout_ms`.
        Stalled = "stalled",
        /// A subscriber was too far behind and there was nothing to skip to.
        Lag = "lag",
        /// No publish, play or complete request within `limits.handshake_timeout_ms`.
        HandshakeTimeout = "handshake_timeout",
        /// Nothing asked for, nothing sent.
        IdleTimeout = "idle_timeout",
        /// Wrong or missing key or token.
        Unauthorized = "unauthorized",
        /// No such stream or path.
        NotFound = "not_found",
        /// App or stream name is empty, too long or has forbidden characters.
        InvalidName = "invalid_name",
        /// A publisher asked for a name that is taken.
        NameTaken = "name_taken",
        /// The player said that it cannot decode what the stream has, or its format carries none of it (any more).
        UnsupportedCodec = "unsupported_codec",
        /// A publisher sent no picture and no sound for `publish.silence_timeout_ms`.
        PublisherSilent = "publisher_silent",
        /// A silent publisher was replaced by another.
        Takeover = "takeover",
        /// The process is going down.
        Shutdown = "shutdown",
        /// A subscriber sent more than `limits.inbound_bytes_per_10s`.
        InboundFlood = "inbound_flood",
        /// The address had `limits.viewers_per_address` viewers.
        AddressViewers = "address_viewers",
        /// The address had `limits.publishers_per_address` publishers.
        AddressPublishers = "address_publishers",
        /// There were as many viewers as there may be; the rest is for publishers.
        Budget = "budget",
        /// Load is shed: a new viewer was refused.
        Overload = "overload",
        /// It asked for a page, and went to the thread that serves these.
        Page = "page",
        /// It neither published nor played, and its place was needed.
        Displaced = "displaced",
        /// Load is shed: it was among the slowest viewers.
        Slowest = "slowest",
    }
}

labels! {
    /// Why the kernel did not take a channel's datagram.
    SendError in PerSendError {
        /// The socket's buffer is full: the interface is slower than what is sent.
        Full = "full",
        /// The kernel or the interface has no buffer left.
        NoBuffers = "no_buffers",
        /// No way to the address: the interface is down or has no address, or there is no route.
        Unreachable = "unreachable",
        /// A firewall forbids it.
        Forbidden = "forbidden",
        /// It is larger than the interface or the path takes in one piece.
        TooLarge = "too_large",
        /// Anything else.
        Other = "other",
    }
}

labels! {
    /// Why a datagram of an input was left out.
    DatagramRefusal in PerDatagramRefusal {
        /// Somebody else sends to the same address.
        OtherSender = "other_sender",
        /// It is neither packets nor RTP around packets.
        NotTs = "not_ts",
        /// It was longer than any datagram of media.
        TooLong = "too_long",
    }
}

labels! {
    /// What is wrong with what a channel's multiplex is given.
    MuxAlarm in PerMuxAlarm {
        /// Nothing that can be sent has come for half a second, or for two seconds no pictures or no sound of a source that
        /// has them.
        SourceLost = "source_lost",
        /// Units were left out in the last five seconds because the rate does not suffice.
        Overload = "overload",
        /// Units were left out in the last five seconds because of their times.
        Late = "late",
        /// The source has no program that is known.
        NoProgram = "no_program",
    }
}

labels! {
    /// What a channel's source is doing.
    SourceState in PerSourceState {
        /// Nobody publishes it.
        NoStream = "no_stream",
        /// It brings media.
        OnAir = "on_air",
        /// It is there and brings nothing.
        Silent = "silent",
        /// It has ended.
        Ended = "ended",
        /// It has nothing that MPEG-TS carries, or no log for it is to be had.
        Refused = "refused",
    }
}

labels! {
    /// Why an input went to another origin.
    SwitchReason in PerSwitchReason {
        /// The one on air brought nothing for `failover_ms`.
        Silence = "silence",
        /// An earlier one was clean for `revert_after_s`.
        Revert = "revert",
    }
}

labels! {
    /// What became of a request for a group by its address.
    RelayAnswer in PerRelayAnswer {
        /// Its stream may be watched.
        Accepted = "accepted",
        /// What was asked for is no group, or none may be watched.
        NotFound = "not_found",
        /// It is on no list.
        Forbidden = "forbidden",
        /// As many groups as there may be are watched.
        Full = "full",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_follow_their_enum() {
        let mut table = PerProtocol::from_fn(Protocol::as_str);
        table[Protocol::HttpFlv] = "changed";
        assert_eq!(
            table.iter().collect::<Vec<_>>(),
            [
                (Protocol::Rtmp, &"rtmp"),
                (Protocol::HttpFlv, &"changed"),
                (Protocol::HttpTs, &"http_ts"),
                (Protocol::Udp, &"udp")
            ]
        );
        assert_eq!(
            serde_json::to_string(&table).unwrap(),
            r#"{"rtmp":"rtmp","http_flv":"changed","http_ts":"http_ts","udp":"udp"}"#
        );
        for (at, reason) in DisconnectReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), at);
        }
    }

    /// No label value comes from a peer, so none can break the page or make series without end.
    #[test]
    fn x7_label_values_come_from_these_lists() {
        let numbers: Vec<String> = (0..2).map(|core| core.to_string()).collect();
        let values = [
            Protocol::ALL.map(Protocol::as_str).as_slice(),
            &Stage::ALL.map(Stage::as_str),
            &FrameKind::ALL.map(FrameKind::as_str),
            &CopyStage::ALL.map(CopyStage::as_str),
            &DropReason::ALL.map(DropReason::as_str),
            &RefuseReason::ALL.map(RefuseReason::as_str),
            &DisconnectReason::ALL.map(DisconnectReason::as_str),
            &ShedCause::ALL.map(ShedCause::as_str),
            &RelayAnswer::ALL.map(RelayAnswer::as_str),
            &[env!("CARGO_PKG_VERSION")],
        ]
        .concat();
        let registry = crate::observe::Registry::new(&[0, 1]);
        registry.cores.iter().for_each(|core| core.metrics.busy.set(0.5));
        let page = registry.render();
        let mut found = 0;
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let Some((_, labels)) = line.split_once('{') else { continue };
            let (labels, _) = labels.split_once("} ").expect("a value behind the labels");
            for label in labels.split(',') {
                let (name, value) = label.split_once("=\"").expect(label);
                let value = value.strip_suffix('"').expect(label);
                let known = match name {
                    "core" | "cpu" => numbers.iter().any(|number| number == value),
                    "le" => value == "+Inf" || value.parse::<f64>().is_ok(),
                    _ => values.contains(&value),
                };
                assert!(known, "{line}");
                found += 1;
            }
        }
        assert!(found > 100, "{found} labels");
    }
}
