//! RTMP syntax (Adobe "RTMP specification 1.0").
