//! Text of DVB tables (ETSI EN 300 468 annex A): a first byte below 0x20 chooses the character table, without one it is
//! ISO 6937.
//!
//! A compressed text (0x1F) is one U+FFFD. Read are the default table, UTF-8, UTF-16 and the ISO 8859 parts 1, 2, 5, 6,
//! 7, 8, 9, 11 and 15. Of the others (East Asian sets, rare parts) the ASCII half is read and the rest becomes U+FFFD:
//! a name with holes is better than none.

/// Decodes a text. Control codes are left out, but for the line break, which becomes a blank: names stand on one line.
pub fn decode(bytes: &[u8]) -> String {
    let decoded = match *bytes {
        [] => String::new(),
        // Table 0x01 is part 5, and so on; part 12 was never made.
        [table @ 0x01..=0x0B, ref rest @ ..] => single(rest, u16::from(table) + 4),
        [0x10, p0, p1, ref rest @ ..] => single(rest, u16::from_be_bytes([p0, p1])),
        // All of the first plane, or what Big5 has of it.
        [0x11 | 0x14, ref rest @ ..] => {
            let units = rest.as_chunks().0.iter().map(|pair| u16::from_be_bytes(*pair));
            char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        [0x15, ref rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        [0x1F, ..] => char::REPLACEMENT_CHARACTER.to_string(),
        [first, ref rest @ ..] if first < 0x20 => single(rest, 0),
        _ => iso_6937(bytes),
    };
    decoded.chars().filter_map(displayed).collect()
}

/// What a character is on one line, if anything.
fn displayed(c: char) -> Option<char> {
    match c {
        '\u{8A}' | '\u{E08A}' | '\n' => Some(' '),
        // Emphasis on and off, and what other private controls there may be.
        '\u{E080}'..='\u{E09F}' => None,
        // What turns the direction of everything behind it has no place in a table.
        '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => None,
        c if c.is_control() => None,
        c => Some(c),
    }
}

/// A part of ISO 8859.
fn single(bytes: &[u8], part: u16) -> String {
    bytes.iter().map(|byte| iso_8859(*byte, part)).collect()
}

fn iso_8859(byte: u8, part: u16) -> char {
    let code = u32::from(byte);
    if byte < 0xA1 {
        return char::from(byte);
    }
    let moved = |by: u32| char::from_u32(code + by).unwrap_or(char::REPLACEMENT_CHARACTER);
    match (part, byte) {
        (1, _) | (5, 0xAD) | (6, 0xA4 | 0xAD) => char::from(byte),
        (2, _) => LATIN_2.chars().nth(usize::from(byte - 0xA1)).unwrap_or(char::REPLACEMENT_CHARACTER),
        (5, 0xF0) => '№',
        (5, 0xFD) => '§',
        (5, _) => moved(0x0401 - 0xA1),
        (6, 0xAC | 0xBB | 0xBF | 0xC1..=0xDA | 0xE0..=0xF2) => moved(0x0600 - 0xA0),
        (7, 0xA1) => '‘',
        (7, 0xA2) => '’',
        (7, 0xA4) => '€',
        (7, 0xA5) => '₯',
        (7, 0xAA) => 'ͺ',
        (7, 0xAF) => '―',
        (7, 0xA3 | 0xA6..=0xAD | 0xB0..=0xB3 | 0xB7 | 0xBB | 0xBD) => char::from(byte),
        (7, 0xB4..=0xFE) if byte != 0xD2 => moved(0x0384 - 0xB4),
        (8, 0xAA) => '×',
        (8, 0xBA) => '÷',
        (8, 0xA2..=0xBE) => char::from(byte),
        (8, 0xDF) => '‗',
        (8, 0xE0..=0xFA) => moved(0x05D0 - 0xE0),
        (9, 0xD0) => 'Ğ',
        (9, 0xDD) => 'İ',
        (9, 0xDE) => 'Ş',
        (9, 0xF0) => 'ğ',
        (9, 0xFD) => 'ı',
        (9, 0xFE) => 'ş',
        (9, _) => char::from(byte),
        (11, 0xA1..=0xDA | 0xDF..=0xFB) => moved(0x0E01 - 0xA1),
        (15, 0xA4) => '€',
        (15, 0xA6) => 'Š',
        (15, 0xA8) => 'š',
        (15, 0xB4) => 'Ž',
        (15, 0xB8) => 'ž',
        (15, 0xBC) => 'Œ',
        (15, 0xBD) => 'œ',
        (15, 0xBE) => 'Ÿ',
        (15, _) => char::from(byte),
        _ => char::REPLACEMENT_CHARACTER,
    }
}

/// ISO 8859-2 from 0xA1 on.
const LATIN_2: &str =
    "Ą˘Ł¤ĽŚ§¨ŠŞŤŹ\u{AD}ŽŻ°ą˛ł´ľśˇ¸šşťź˝žżŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙";

/// The default table: Latin letters, with accents as bytes in front of them.
fn iso_6937(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut accent = None;
    for byte in bytes {
        if let 0xC1..=0xCF = byte {
            accent = combining(*byte);
            continue;
        }
        let letter = iso_6937_letter(*byte);
        match accent.take() {
            None => text.push(letter),
            Some(accent) => {
                match COMPOSED.iter().find(|(base, mark, _)| (*base, *mark) == (letter, accent)) {
                    Some((_, _, whole)) => text.push(*whole),
                    None => text.extend([letter, accent]),
                }
            }
        }
    }
    text
}

fn combining(byte: u8) -> Option<char> {
    Some(match byte {
        0xC1 => '\u{300}',
        0xC2 => '\u{301}',
        0xC3 => '\u{302}',
        0xC4 => '\u{303}',
        0xC5 => '\u{304}',
        0xC6 => '\u{306}',
        0xC7 => '\u{307}',
        0xC8 => '\u{308}',
        0xCA => '\u{30A}',
        0xCB => '\u{327}',
        0xCD => '\u{30B}',
        0xCE => '\u{328}',
        0xCF => '\u{30C}',
        _ => return None,
    })
}

fn iso_6937_letter(byte: u8) -> char {
    /// From 0xA0 to 0xBF, then from 0xD0 to 0xFF; a full stop stands where nothing is defined.
    const LOW: &str = "\u{A0}¡¢£€¥.§¤‘“«←↑→↓°±²³×µ¶·÷’”»¼½¾¿";
    const HIGH: &str = "―¹®©™♪¬¦....⅛⅜⅝⅞ΩÆĐªĦ.ĲĿŁØŒºÞŦŊŉĸæđðħıĳŀłøœßþŧŋ\u{AD}";
    let of = |table: &str, first: u8| match table.chars().nth(usize::from(byte - first)) {
        None | Some('.') => char::REPLACEMENT_CHARACTER,
        Some(letter) => letter,
    };
    match byte {
        0xA0..=0xBF => of(LOW, 0xA0),
        0xD0..=0xFF => of(HIGH, 0xD0),
        0xC0..=0xCF => char::REPLACEMENT_CHARACTER,
        _ => char::from(byte),
    }
}

/// Letters that exist as one character: base, accent, whole. Others stay two, which means the same.
const COMPOSED: &[(char, char, char)] = &[
    ('A', '\u{300}', 'À'),
    ('E', '\u{300}', 'È'),
    ('I', '\u{300}', 'Ì'),
    ('O', '\u{300}', 'Ò'),
    ('U', '\u{300}', 'Ù'),
    ('a', '\u{300}', 'à'),
    ('e', '\u{300}', 'è'),
    ('i', '\u{300}', 'ì'),
    ('o', '\u{300}', 'ò'),
    ('u', '\u{300}', 'ù'),
    ('A', '\u{301}', 'Á'),
    ('E', '\u{301}', 'É'),
    ('I', '\u{301}', 'Í'),
    ('O', '\u{301}', 'Ó'),
    ('U', '\u{301}', 'Ú'),
    ('a', '\u{301}', 'á'),
    ('e', '\u{301}', 'é'),
    ('i', '\u{301}', 'í'),
    ('o', '\u{301}', 'ó'),
    ('u', '\u{301}', 'ú'),
    ('Y', '\u{301}', 'Ý'),
    ('y', '\u{301}', 'ý'),
    ('C', '\u{301}', 'Ć'),
    ('c', '\u{301}', 'ć'),
    ('N', '\u{301}', 'Ń'),
    ('n', '\u{301}', 'ń'),
    ('S', '\u{301}', 'Ś'),
    ('s', '\u{301}', 'ś'),
    ('Z', '\u{301}', 'Ź'),
    ('z', '\u{301}', 'ź'),
    ('A', '\u{302}', 'Â'),
    ('E', '\u{302}', 'Ê'),
    ('I', '\u{302}', 'Î'),
    ('O', '\u{302}', 'Ô'),
    ('U', '\u{302}', 'Û'),
    ('a', '\u{302}', 'â'),
    ('e', '\u{302}', 'ê'),
    ('i', '\u{302}', 'î'),
    ('o', '\u{302}', 'ô'),
    ('u', '\u{302}', 'û'),
    ('A', '\u{303}', 'Ã'),
    ('N', '\u{303}', 'Ñ'),
    ('O', '\u{303}', 'Õ'),
    ('a', '\u{303}', 'ã'),
    ('n', '\u{303}', 'ñ'),
    ('o', '\u{303}', 'õ'),
    ('A', '\u{308}', 'Ä'),
    ('E', '\u{308}', 'Ë'),
    ('I', '\u{308}', 'Ï'),
    ('O', '\u{308}', 'Ö'),
    ('U', '\u{308}', 'Ü'),
    ('a', '\u{308}', 'ä'),
    ('e', '\u{308}', 'ë'),
    ('i', '\u{308}', 'ï'),
    ('o', '\u{308}', 'ö'),
    ('u', '\u{308}', 'ü'),
    ('y', '\u{308}', 'ÿ'),
    ('A', '\u{30A}', 'Å'),
    ('a', '\u{30A}', 'å'),
    ('U', '\u{30A}', 'Ů'),
    ('u', '\u{30A}', 'ů'),
    ('C', '\u{327}', 'Ç'),
    ('c', '\u{327}', 'ç'),
    ('S', '\u{327}', 'Ş'),
    ('s', '\u{327}', 'ş'),
    ('O', '\u{30B}', 'Ő'),
    ('o', '\u{30B}', 'ő'),
    ('U', '\u{30B}', 'Ű'),
    ('u', '\u{30B}', 'ű'),
    ('A', '\u{328}', 'Ą'),
    ('a', '\u{328}', 'ą'),
    ('E', '\u{328}', 'Ę'),
    ('e', '\u{328}', 'ę'),
    ('C', '\u{30C}', 'Č'),
    ('c', '\u{30C}', 'č'),
    ('D', '\u{30C}', 'Ď'),
    ('d', '\u{30C}', 'ď'),
    ('E', '\u{30C}', 'Ě'),
    ('e', '\u{30C}', 'ě'),
    ('N', '\u{30C}', 'Ň'),
    ('n', '\u{30C}', 'ň'),
    ('R', '\u{30C}', 'Ř'),
    ('r', '\u{30C}', 'ř'),
    ('S', '\u{30C}', 'Š'),
    ('s', '\u{30C}', 'š'),
    ('T', '\u{30C}', 'Ť'),
    ('t', '\u{30C}', 'ť'),
    ('Z', '\u{30C}', 'Ž'),
    ('z', '\u{30C}', 'ž'),
    ('Z', '\u{307}', 'Ż'),
    ('z', '\u{307}', 'ż'),
    ('A', '\u{306}', 'Ă'),
    ('a', '\u{306}', 'ă'),
    ('G', '\u{306}', 'Ğ'),
    ('g', '\u{306}', 'ğ'),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables() {
        for (what, bytes, text) in [
            ("plain", &b"BBC ONE"[..], "BBC ONE"),
            ("default table with accents", &[b'Z', 0xC8, b'u', b'r', b'i', b'c', b'h', 0xFB], "Zürichß"),
            ("an accent that stays apart", &[0xC8, b'x'], "x\u{308}"),
            ("the euro of the default table", &[0xA4, b'5'], "€5"),
            ("nothing defined", &[0xA6, 0xC0, 0xD8], "\u{FFFD}\u{FFFD}\u{FFFD}"),
            ("an accent at the end", &[b'a', 0xC1], "a"),
            ("Cyrillic", &[0x01, 0xBF, 0xD5, 0xE0, 0xD2, 0xEB, 0xD9], "Первый"),
            ("Greek", &[0x03, 0xC5, 0xD1, 0xD4], "ΕΡΤ"),
            ("Hebrew", &[0x04, 0xEB, 0xE0, 0xEF], "כאן"),
            ("Arabic", &[0x02, 0xE5, 0xC8], "مب"),
            ("Turkish", &[0x05, 0xD0, 0xFD], "Ğı"),
            ("Thai", &[0x07, 0xE4, 0xB7, 0xC2], "ไทย"),
            ("Central European", &[0x10, 0, 2, 0xC8, b'T', 0xB1, 0xA3, 0xFF], "ČTąŁ˙"),
            ("part 15", &[0x10, 0, 15, 0xA4, 0xBC, 0xE9], "€Œé"),
            ("UTF-8", &[0x15, 0xE2, 0x82, 0xAC], "€"),
            ("broken UTF-8", &[0x15, b'a', 0xFF], "a\u{FFFD}"),
            ("UTF-16", &[0x11, 0x4E, 0x2D, 0xD8, 0x3D, 0xDE, 0x00, 0xD8], "中😀"),
            ("Big5, as UTF-16", &[0x14, 0x4E, 0x2D], "中"),
            ("compressed", &[0x1F, 1, 0x55, 0x66], "\u{FFFD}"),
            ("a set that is not read", &[0x13, b'C', 0xD6, b'1'], "C\u{FFFD}1"),
            ("emphasis and a line break", &[0x86, b'a', 0x87, 0x8A, b'b'], "a b"),
            ("terminal control", &[0x15, 0x1B, b'[', b'2', b'J', 0x0D], "[2J"),
            ("direction turned", &[0x15, 0xE2, 0x80, 0xAE, b'a'], "a"),
            ("nothing", &[], ""),
            ("a choice alone", &[0x10], ""),
        ] {
            assert_eq!(decode(bytes), text, "{what}");
        }
    }

    #[test]
    fn tables_are_whole() {
        assert_eq!(LATIN_2.chars().count(), 0x100 - 0xA1);
        // Letters of each part that is read, the first and the last of them, and what no part defines.
        for (part, count, first, last) in [
            (1, 95, '¡', 'ÿ'),
            (2, 95, 'Ą', '˙'),
            (5, 95, 'Ё', 'џ'),
            (6, 50, '¤', '\u{652}'),
            (7, 92, '‘', 'ώ'),
            (8, 57, '¢', 'ת'),
            (9, 95, '¡', 'ÿ'),
            (11, 87, 'ก', '๛'),
            (15, 95, '¡', 'ÿ'),
            (3, 0, ' ', ' '),
        ] {
            let letters = single(&(0xA1..=0xFF).collect::<Vec<_>>(), part);
            let known: Vec<char> = letters.chars().filter(|c| *c != char::REPLACEMENT_CHARACTER).collect();
            assert_eq!(known.len(), count, "{part}");
            assert_eq!(known.first().zip(known.last()), (count > 0).then_some((&first, &last)), "{part}");
            let mut once = known.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), count, "a letter stands twice in part {part}");
        }
        let letters: String = (0xD0..=0xFF).map(iso_6937_letter).collect();
        assert_eq!((letters.chars().nth(0x10), letters.chars().nth(0x2F)), (Some('Ω'), Some('\u{AD}')));
    }
}
