//! Media is copied in one place: the function that counts it.
//!
//! In `fanout/` and `egress/` the words that copy bytes may stand in [`COUNTING`] only, so that
//! `headgate_payload_copied_bytes_total` is the whole truth: one copy a frame for each log in use, whatever the number
//! of subscribers. Unit tests inside those folders are free.

#[path = "support/source.rs"]
mod source;

/// The function that copies and counts: file and name.
const COUNTING: (&str, &str) = ("src/fanout/segment.rs", "put");

/// What copies bytes.
const FORBIDDEN: [&str; 5] =
    ["to_vec", "copy_from_slice", "extend_from_slice", "concat", "copy_nonoverlapping"];

/// Every forbidden word outside the counting function, as `path:line: word in fn name`.
fn faults(path: &str, code: &str) -> Vec<String> {
    let mut found = Vec::new();
    // Functions that are open, each with the brace depth of its body; and the depth at which a test module began.
    let (mut depth, mut functions, mut test): (usize, Vec<(usize, String)>, Option<usize>) =
        (0, Vec::new(), None);
    let (mut named, mut cfg_test, mut line) = (None, false, 1);
    let mut words = Words(code).peekable();
    while let Some(word) = words.next() {
        match word {
            "\n" => line += 1,
            "{" => {
                depth += 1;
                if let Some(name) = named.take() {
                    functions.push((depth, name));
                }
                if std::mem::take(&mut cfg_test) && test.is_none() {
                    test = Some(depth);
                }
            }
            "}" => {
                functions.retain(|(at, _)| *at < depth);
                test = test.filter(|at| *at < depth);
                depth = depth.saturating_sub(1);
            }
            ";" => (named, cfg_test) = (None, false),
            "fn" => named = words.peek().map(|name| (*name).to_owned()),
            "cfg" => {
                let rest: Vec<&str> = words.by_ref().take_while(|w| *w != ")").collect();
                let at = rest.iter().position(|w| *w == "test");
                cfg_test = at.is_some_and(|at| at < 2 || rest[at - 2..at] != ["not", "("]);
            }
            _ if FORBIDDEN.contains(&word) && test.is_none() => {
                let function = functions.last().map_or("", |(_, name)| name.as_str());
                if (path, function) != COUNTING {
                    found.push(format!("{path}:{line}: {word} in fn {function}"));
                }
            }
            _ => {}
        }
    }
    found
}

/// Words and single signs of a text; blanks are left out, line ends are not.
struct Words<'a>(&'a str);

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;
    fn next(&mut self) -> Option<&'a str> {
        self.0 = self.0.trim_start_matches([' ', '\t', '\r']);
        let first = self.0.chars().next()?;
        let wordy = |c: char| c.is_alphanumeric() || c == '_';
        let len =
            if wordy(first) { self.0.find(|c| !wordy(c)).unwrap_or(self.0.len()) } else { first.len_utf8() };
        let (word, rest) = self.0.split_at(len);
        self.0 = rest;
        Some(word)
    }
}

#[test]
fn media_is_copied_in_one_function() {
    let files = ["src/fanout", "src/egress"].map(source::files).concat();
    let faults: Vec<String> = files
        .iter()
        .filter(|(path, _)| !path.ends_with("/tests.rs") && !path.contains("/tests/"))
        .flat_map(|(path, code)| faults(path, code))
        .collect();
    assert!(faults.is_empty(), "copies outside {}::{}:\n{}", COUNTING.0, COUNTING.1, faults.join("\n"));
}

/// The rule would be empty if the counting function copied by a word that is not on the list.
#[test]
fn the_counting_function_copies_by_a_listed_word() {
    let (_, code) = source::files("src/fanout").into_iter().find(|(p, _)| p == COUNTING.0).expect(COUNTING.0);
    assert_eq!(faults("src/fanout/elsewhere.rs", &code).len(), 1, "{} copies once", COUNTING.0);
}

#[test]
fn the_checker_sees_what_it_should() {
    for (path, text, count) in [
        ("src/egress/rtmp.rs", "fn send(b: &[u8]) { let v = b.to_vec(); }", 1),
        ("src/egress/rtmp.rs", "fn put(b: &[u8]) { let v = b.to_vec(); }", 1),
        ("src/fanout/segment.rs", "impl W {\n fn put(&mut self) { if x { p.copy_from_slice(b) } } }", 0),
        ("src/fanout/segment.rs", "fn put() {}\nfn other() { v.extend_from_slice(b) }", 1),
        ("src/fanout/log.rs", "// to_vec\nconst S: &str = \"concat\"; fn to_vector() {}", 0),
        ("src/fanout/log.rs", "static A: B = [x, y].concat();", 1),
        (
            "src/fanout/log.rs",
            "#[cfg(test)]\nmod tests { fn a() { b.to_vec(); } }\nfn c() { d.to_vec(); }",
            1,
        ),
        ("src/fanout/log.rs", "#[cfg(not(test))]\nmod real { fn a() { b.to_vec(); } }", 1),
        (
            "src/fanout/log.rs",
            "#[cfg(all(test, not(feature = \"a\")))]\nmod tests { fn a() { b.to_vec(); } }",
            0,
        ),
        ("src/fanout/log.rs", "#[cfg(test)]\nuse x;\nfn a() { b.to_vec(); }", 1),
    ] {
        let found = faults(path, &source::code(text));
        assert_eq!(found.len(), count, "{text}: {found:?}");
    }
}
