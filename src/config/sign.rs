//! Signs that act instead of being seen: one table for names, log lines and messages to a terminal.

/// Whether `c` leaves the line, the terminal and the reading order alone and is not invisible. Blanks are harmless, line
/// breaks are not. The joiners U+200C and U+200D are not either; where scripts need them is for the caller to know.
///
/// The ranges are those of Unicode's Default_Ignorable_Code_Point but for variation selectors, which emoji need;
/// line and paragraph separators; blanks that are drawn by letters; annotations; and code points that are no characters.
pub fn is_harmless(c: char) -> bool {
    // The last two code points of each plane are no characters; planes 14 to 16 hold tags and private use.
    let no_character = u32::from(c) & 0xfffe == 0xfffe;
    !(no_character
        || c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}')
        || matches!(c, '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}' | '\u{feff}')
        || matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{fff0}'..='\u{fffb}')
        || matches!(c, '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..))
}

#[cfg(test)]
mod tests {
    use super::is_harmless;

    #[test]
    fn x7_what_can_be_seen_is_harmless_and_what_acts_is_not() {
        for c in "aZ09 ~\"\\#\u{a0}üß日本हि\u{308}\u{3000}\u{fe0f}👩\u{fffd}ᄀ".chars() {
            assert!(is_harmless(c), "{c:?}");
        }
        for c in "\0\n\r\t\u{1b}\u{7f}\u{85}\u{9b}\u{ad}\u{34f}\u{61c}\u{115f}\u{1160}\u{17b4}\u{180e}\u{200b}\u{200c}\u{200d}\
                  \u{200e}\u{2028}\u{2029}\u{202a}\u{202e}\u{2060}\u{2066}\u{206f}\u{2800}\u{3164}\u{ffa0}\u{feff}\u{e000}\
                  \u{fdd0}\u{fff9}\u{ffff}\u{1bca0}\u{1d173}\u{1fffe}\u{e0041}\u{e0100}\u{10ffff}"
            .chars()
        {
            assert!(!is_harmless(c), "{c:?}");
        }
    }
}
