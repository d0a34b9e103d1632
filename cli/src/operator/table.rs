//! Tables for people.

use comfy_table::{CellAlignment, Table, presets};

use crate::text::harmless;

/// A table without lines, as `git` and `kubectl` print them. Cells from outside are made harmless.
pub(crate) fn table(titles: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(titles.iter().copied());
    for row in rows {
        table.add_row(row.iter().map(|cell| harmless(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
        column.set_cell_alignment(CellAlignment::Left);
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// Columns that a line may have: those of the terminal, or enough for a program that reads along.
pub(crate) fn width() -> usize {
    console::Term::stdout().size_checked().map_or(160, |(_rows, columns)| usize::from(columns).max(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".to_owned(), "\u{1b}[31m".to_owned()], vec!["äöü日本".to_owned(), "y".to_owned()]];
        let text = table(&["ONE", "TWO"], rows);
        assert_eq!(text, "ONE      TWO\na        \\u{1b}[31m\näöü日本  y");
    }
}
