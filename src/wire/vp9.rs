//! VP8 and VP9: `vpcC` full box content (VP Codec ISO Media File Format Binding), which Enhanced FLV sends with its
//! version and flags. It does not tell the picture's size.

/// What a `vpcC` record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VpConfig {
    /// Codec profile, 0..=3.
    pub profile: u8,
    /// Ten times the level; 0 is unknown.
    pub level: u8,
    /// Bits a sample.
    pub bit_depth: u8,
}

impl VpConfig {
    /// Reads version 1 of the record.
    pub fn parse(record: &[u8]) -> Option<VpConfig> {
        let [1, _, _, _, profile, level, depth, ..] = *record else { return None };
        Some(VpConfig { profile, level, bit_depth: depth >> 4 })
    }

    /// Profile, level and depth as people write them, such as `Profile 0 1.1 8 bit`.
    pub fn profile_text(&self) -> String {
        let VpConfig { profile, level, bit_depth } = self;
        if *level == 0 {
            return format!("Profile {profile} {bit_depth} bit");
        }
        format!("Profile {profile} {}.{} {bit_depth} bit", level / 10, level % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        // libvpx of ffmpeg 9.
        let config = VpConfig::parse(&[1, 0, 0, 0, 0, 0x0b, 0x82, 2, 2, 2, 0, 0]).unwrap();
        assert_eq!(config.profile_text(), "Profile 0 1.1 8 bit");
        assert_eq!(VpConfig { level: 0, ..config }.profile_text(), "Profile 0 8 bit");
        assert_eq!((VpConfig::parse(&[0; 12]), VpConfig::parse(&[1, 0, 0, 0, 0, 0])), (None, None));
    }
}
