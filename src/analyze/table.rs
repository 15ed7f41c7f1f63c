//! Aligned columns.

/// A table of texts: the first row is its head.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    /// Columns of numbers stand to the right.
    right: &'static [usize],
}

impl Table {
    /// With a head, and these columns to the right.
    pub fn new(head: &[&str], right: &'static [usize]) -> Table {
        Table { rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()], right }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Lines without the newline; columns that are empty in every row are left out, with their heads.
    pub fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize, rows: &[Vec<String>]| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let used: Vec<(usize, usize)> = (0..columns)
            .filter(|column| width(*column, self.rows.get(1..).unwrap_or_default()) > 0)
            .map(|column| (column, width(column, &self.rows)))
            .collect();
        let line = |row: &Vec<String>| {
            let cells = used.iter().map(|(column, width)| {
                let cell = row.get(*column).map_or("", String::as_str);
                if self.right.contains(column) {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                }
            });
            format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns() {
        let mut table = Table::new(&["Name", "Count", "Never"], &[1]);
        table.row(vec!["ä".to_owned(), "1000000".to_owned(), String::new()]);
        table.row(vec!["longer".to_owned(), "7".to_owned(), String::new()]);
        assert_eq!(table.lines(), ["  Name      Count", "  ä       1000000", "  longer        7"]);
    }
}
