//! Tables in Markdown, and how figures are written in them.

use crate::stats::{Spread, median, spread};

/// A table: its first column is text, all others are figures.
#[derive(Debug)]
pub(crate) struct Table {
    lines: Vec<String>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(columns: &[&str]) -> Self {
        let rule = format!("|---|{}", "---:|".repeat(columns.len().saturating_sub(1)));
        Self { lines: vec![row(columns), rule] }
    }

    /// Adds a row.
    pub(crate) fn add(&mut self, cells: &[String]) {
        self.lines.push(row(cells));
    }

    /// The text, with an empty line after it.
    pub(crate) fn text(self) -> String {
        self.lines.join("\n") + "\n\n"
    }
}

fn row<T: AsRef<str>>(cells: &[T]) -> String {
    let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
    format!("| {} |", cells.join(" | "))
}

/// Three digits that count, and a dash for what was not measured.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        size if size.is_nan() => "—".to_owned(),
        size if size < 9.995 => format!("{value:.2}"),
        size if size < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// The median.
pub(crate) fn middle(values: &[f64]) -> String {
    figure(median(values))
}

/// The median, and in brackets the quartiles.
pub(crate) fn with_quartiles(values: &[f64]) -> String {
    bracketed(spread(values), "")
}

/// A ratio with its quartiles, as in `5.21× (5.02–5.40)`.
pub(crate) fn times(ratio: Spread) -> String {
    bracketed(ratio, "×")
}

/// A spread as text.
pub(crate) fn bracketed(spread: Spread, unit: &str) -> String {
    if spread.middle.is_nan() {
        return figure(spread.middle);
    }
    format!("{}{unit} ({}–{})", figure(spread.middle), figure(spread.low), figure(spread.high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let written: Vec<String> = [0.356, 9.99, 12.34, 99.96, 1_234.5].map(figure).to_vec();
        assert_eq!(written, ["0.36", "9.99", "12.3", "100", "1234"]);
        assert_eq!(figure(f64::NAN), "—");
    }

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::new(&["who", "ms"]);
        table.add(&["Node".to_owned(), figure(5.0)]);
        assert_eq!(table.text(), "| who | ms |\n|---|---:|\n| Node | 5.00 |\n\n");
    }

    #[test]
    fn a_ratio_shows_its_spread() {
        assert_eq!(times(Spread { low: 5.0, middle: 5.2, high: 10.0 }), "5.20× (5.00–10.0)");
        assert_eq!(with_quartiles(&[]), "—");
    }
}
