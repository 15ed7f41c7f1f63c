//! The versions of tables that are made anew: one a table, another when the source's is, or what stands in a section.

use super::VERSIONS_MAX;
use crate::wire::ts::section::Section;

/// Sections of which it is known what stood in them last: a map has one, an SDT or a PAT a handful.
const SUMS_MAX: usize = 4 * VERSIONS_MAX;

/// The newest version of a table that was made.
#[derive(Clone, Debug)]
struct Version {
    /// `table_id`, and the extension that it leaves with.
    table: (u8, u16),
    /// That of the source.
    source: u8,
    version: u8,
    /// What its sections say, by their numbers, as far as they came in this version.
    sums: Vec<(u8, u32)>,
}

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Versions(Vec<Version>);

impl Versions {
    /// The version of a table with a section `number` that says `sum`, made from `section`.
    pub fn of(&mut self, section: Section<'_>, extension: u16, number: u8, sum: u32) -> u8 {
        let (table, source) = ((section.table_id(), extension), section.version());
        // Not what the source's is: who knows that one is to read this.
        let next = |version: u8| (version + 1) & 0x1F;
        let at = self.0.iter().position(|version| version.table == table);
        let known = at.and_then(|at| self.0.get_mut(at));
        if !section.is_current() {
            // What holds next is no part of what holds.
            return known.map_or(next(source), |known| next(known.version));
        }
        let Some(known) = known else {
            // A stream that names ever other tables begins anew.
            if self.0.len() >= VERSIONS_MAX {
                self.0.clear();
            }
            let version = next(source);
            self.0.push(Version { table, source, version, sums: vec![(number, sum)] });
            return version;
        };
        let said = known.sums.iter().find(|(of, _)| *of == number).map(|(_, sum)| *sum);
        if known.source != source || said.is_some_and(|said| said != sum) {
            (known.source, known.version) = (source, next(known.version));
            known.sums.clear();
        } else if said.is_some() {
            return known.version;
        }
        known.sums.push((number, sum));
        let version = known.version;
        // A version that is forgotten would be given again: what its sections say is forgotten instead.
        if self.sums() > SUMS_MAX {
            self.0.iter_mut().for_each(|version| version.sums = Vec::new());
        }
        version
    }

    fn sums(&self) -> usize {
        self.0.iter().map(|version| version.sums.len()).sum()
    }

    /// Tables.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Bytes held.
    pub fn heap_bytes(&self) -> usize {
        let sums: usize = self.0.iter().map(|version| version.sums.capacity() * size_of::<(u8, u32)>()).sum();
        self.0.capacity() * size_of::<Version>() + sums
    }
}
